#pragma once
// The database of a lab with several controllers: a MariaDB in its first host or, with three controllers or more, in the
// last of them, so that the loss of the first can be tried.

#include <string>

#include "cloud/supervised_process.h"

namespace virga::lab {

/// What the controllers' virga.toml has as database.url. A lab is no boundary, so the password is no secret.
std::string lab_database_url(int controllers);
/// The number of the host that it is on; 0 if one controller has a database of its own.
int lab_database_node(int controllers);
/// Makes it if there is none yet, starts it if it is off, and waits until it answers. Throws Fault(internal) if it does not.
void ensure_lab_database(int node, const cloud::ProcessName& init);

}  // namespace virga::lab
