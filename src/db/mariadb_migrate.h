#pragma once

#include <vector>

#include "db/mariadb_connection.h"

namespace virga::db {
/// Brings the schema up to `to`. MariaDB commits each DDL statement by itself, so the progress inside a migration is
/// recorded per statement, and a run that was cut short goes on with the statement that it was at.
void migrate_mariadb(MariadbConnection& connection, const std::vector<Migration>& to);
}  // namespace virga::db
