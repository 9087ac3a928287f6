#include "db/mariadb.h"
namespace virga::db {
std::unique_ptr<Database> open_mariadb(const Url&, const Options&) { throw Fault(FaultKind::not_implemented, "later"); }
}
