#pragma once

#include <memory>

#include "db/api.h"
#include "db/url.h"

namespace virga::db {
/// Connects when first needed, so that a server that is still starting fails calls, not the process.
std::unique_ptr<Database> open_mariadb(const Url& url, const Options& options);
}  // namespace virga::db
