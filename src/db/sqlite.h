#pragma once

#include <memory>

#include "db/api.h"
#include "db/url.h"

namespace virga::db {
/// `url.path` is the file; option "vfs" names an SQLite VFS (tests inject faults through one).
std::unique_ptr<Database> open_sqlite(const Url& url, const Options& options);
}  // namespace virga::db
