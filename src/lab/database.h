#pragma once
// The database of a lab with several controllers: a MariaDB in its first host.

#include <string>

#include "cloud/supervised_process.h"

namespace virga::lab {

/// What the controllers' virga.toml has as database.url. A lab is no boundary, so the password is no secret.
std::string lab_database_url();
/// Makes it if there is none yet, starts it if it is off, and waits until it answers. Throws Fault(internal) if it does not.
void ensure_lab_database(const cloud::ProcessName& init);

}  // namespace virga::lab
