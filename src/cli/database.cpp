// Looking into the tables, as operators are used to.

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/config.h"
#include "cli/api.h"
#include "compute/api.h"
#include "db/api.h"

namespace virga::cli {
namespace {

using Words = std::vector<std::string>;

/// OpenStack's service names (and ours) to what the names of their tables begin with.
const std::map<std::string, Words>& tables_of() {
  static const Words identity{"identity_", "secret_key"}, image{"image_"}, network{"network_"};
  static const Words placement{"resource_", "inventories", "allocation", "traits", "provider_"};
  static const Words compute{"compute_", "server", "flavor", "keypairs", "host", "aggregate", "console_"};
  static const std::map<std::string, Words> known{
      {"keystone", identity}, {"identity", identity}, {"glance", image},        {"image", image}, {"placement", placement},
      {"neutron", network},   {"network", network},   {"nova", compute},        {"compute", compute}, {"operations", {"operation"}}, {"enrolment", {"enrol"}}, {"controllers", {"controllers", "leases"}}};
  return known;
}

bool begins_with_any(const std::string& name, const Words& words) {
  return std::any_of(words.begin(), words.end(), [&](const auto& word) { return name.rfind(word, 0) == 0; });
}

void tables(const Config& config, const std::string& service) {
  Words wanted;
  if (!service.empty()) {
    const auto found = tables_of().find(service);
    if (found == tables_of().end()) throw Fault(FaultKind::bad_request, fmt::format("There is no service {}.", service), "Try keystone, glance, placement, neutron, nova, operations, enrolment or controllers.");
    wanted = found->second;
  }
  db::Options options;
  options.url = config.database_url();
  auto database = db::open(options);
  database->read([&](db::Tx& tx) {
    const char* list = tx.dialect() == db::Dialect::sqlite ? "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
                                                           : "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name";
    for (const auto& row : tx.query(list)) {
      const std::string name = row.text(0);
      if (!wanted.empty() && !begins_with_any(name, wanted)) continue;
      const auto count = tx.first(fmt::format("SELECT COUNT(*) FROM {}", name));
      std::printf("%-40s %8lld rows\n", name.c_str(), static_cast<long long>(count ? count->integer(0) : 0));
    }
  });
}

/// sqlite3 or mariadb on the cloud's database.
void shell(const Config& config) {
  const std::string url = config.database_url();
  if (url.rfind("sqlite://", 0) == 0) {
    const std::string file = url.substr(9);
    execlp("sqlite3", "sqlite3", "-header", "-column", file.c_str(), nullptr);
    throw Fault(FaultKind::not_found, "The program sqlite3 is missing.", "apt-get install sqlite3");
  }
  const db::Url server = db::parse_url(url);
  if (!server.password.empty()) setenv("MYSQL_PWD", server.password.c_str(), 1);
  const auto socket = server.options.find("socket");
  std::vector<std::string> argv = {"mariadb", "--user=" + server.user};
  if (socket != server.options.end()) argv.push_back("--socket=" + socket->second);
  else argv.insert(argv.end(), {"--host=" + (server.host.empty() ? "127.0.0.1" : server.host), fmt::format("--port={}", server.port ? server.port : 3306)});
  argv.push_back(server.path);
  std::vector<char*> raw;
  for (auto& a : argv) raw.push_back(a.data());
  raw.push_back(nullptr);
  execvp(raw[0], raw.data());
  throw Fault(FaultKind::not_found, "The program mariadb is missing.", "apt-get install mariadb-client");
}

void accept_restored(const Config& config) {
  db::Options options;
  options.url = config.database_url();
  if (compute::accept_restored_database(*db::open(options)))
    std::printf("Accepted: the hosts take this database's assignments again within seconds. Servers it does not know stay on their hosts; the log of serve names them.\n");
  else
    std::printf("There is nothing to accept: no host has found this database older than itself.\n");
}

}  // namespace

void add_database_commands(CLI::App& app, Shared& shared) {
  auto* group = app.add_subcommand("db", "the database behind the services");
  group->require_subcommand(1);
  auto service = std::make_shared<std::string>();
  auto* command = group->add_subcommand("tables", "tables and their sizes");
  command->add_option("service", *service, "only of this service (keystone, glance, placement, neutron, nova, operations, enrolment)");
  command->callback([&shared, service] { tables(shared.load(), *service); });
  group->add_subcommand("shell", "an SQL prompt on it")->callback([&shared] { shell(shared.load()); });
  group->add_subcommand("accept-restored", "take a database that is older than its hosts (a restored backup) for the truth")->callback([&shared] { accept_restored(shared.load()); });
}

}  // namespace virga::cli
