#include "lab/database.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "lab/node.h"
#include "lab/plan.h"

namespace virga::lab {
namespace {

constexpr const char* kPassword = "lab";

// In the host's own folders, so that a power failure leaves what was written.
constexpr const char* kScript = R"(set -e
data=/var/lib/virga/mariadb
sql() { mariadb --no-defaults -u root -S /run/virga-mariadb/sock "$@"; }
install -d -o mysql -g mysql /run/virga-mariadb
sql -e 'SELECT 1' > /dev/null 2>&1 && exit 0
if [ ! -e $data/mysql ]; then
  rm -rf $data.new
  install -d -o mysql -g mysql $data.new
  mariadb-install-db --no-defaults --user=mysql --datadir=$data.new --skip-test-db --auth-root-authentication-method=normal > /dev/null
  mv $data.new $data
fi
setsid mariadbd --no-defaults --user=mysql --datadir=$data --socket=/run/virga-mariadb/sock --bind-address=ADDRESS --skip-name-resolve \
  --pid-file=/run/virga-mariadb/pid --innodb-buffer-pool-size=64M --innodb-log-file-size=32M > /var/log/virga/mariadb.log 2>&1 < /dev/null &
for i in $(seq 300); do sql -e 'SELECT 1' > /dev/null 2>&1 && break; sleep 0.1; done
sql -e "CREATE USER IF NOT EXISTS virga@'172.31.0.%' IDENTIFIED BY 'PASSWORD'; GRANT ALL ON virga.* TO virga@'172.31.0.%'"
)";

std::string replaced(std::string text, std::string_view what, const std::string& by) {
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + by.size())) text.replace(at, what.size(), by);
  return text;
}

}  // namespace

int lab_database_node(int controllers) { return controllers == 1 ? 0 : controllers == 2 ? 1 : controllers; }

std::string lab_database_url(int controllers) {
  const int node = lab_database_node(controllers);
  return node == 0 ? "" : fmt::format("mariadb://virga:{}@{}:3306/virga", kPassword, node_address(node));
}

void ensure_lab_database(int node, const cloud::ProcessName& init) {
  const std::string script = replaced(replaced(kScript, "ADDRESS", node_address(node)), "PASSWORD", kPassword);
  if (run_inside(init, {"bash", "-c", script}) != 0)
    throw Fault(FaultKind::internal, fmt::format("The MariaDB of the lab does not start on {}.", node_name(node)),
                fmt::format("It needs the package mariadb-server. Its log: virga lab exec {} -- cat /var/log/virga/mariadb.log", node_name(node)));
}

}  // namespace virga::lab
