#include "cloud/purge.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/fault.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/distribution.h"
#include "cloud/guests.h"
#include "cloud/serve.h"
#include "cloud/supervised_process.h"
#include "cloud/switch_database.h"
#include "controllers/api.h"
#include "db/api.h"
#include "ovn/api.h"

namespace virga::cloud {
namespace {

namespace fs = std::filesystem;
constexpr const char* kMarker = "/.virga";
constexpr const char* kUnfinished = ".virga.new-";  // write_file was killed while it wrote the marker
constexpr const char* kMade = "/made-on-host";

/// The agent's metadata namespaces ("vmeta-12345678-TAG", the tag being network.namespace), and the data plane's.
void remove_namespaces(const Config& config) {
  const std::string tag = "-" + config.network.name_space;
  for (const std::string& name : netns::list())
    if (name.rfind("vmeta-", 0) == 0 && name.size() == 14 + tag.size() && name.compare(14, tag.size(), tag) == 0) netns::remove(name);
  if (config.trial()) netns::remove(config.network.name_space);
}

/// OVN's own record of this host stays behind when its controller is the distribution's and goes on without OVN.
void remove_chassis(const Engines& engines) {
  SwitchDatabase southbound(engines.chassis_remote.substr(std::string("unix:").size()), "OVN_Southbound");
  json::array operations;
  for (const char* table : {"Chassis_Private", "Chassis"})
    operations.push_back({{"op", "delete"}, {"table", table}, {"where", json::array{json::array{"name", "==", engines.chassis}}}});
  southbound.transact(std::move(operations));
}

/// Only our rows: NorthboundWriter touches no others.
void empty_northbound() {
  ovn::NorthboundWriter writer({.remote = fmt::format("unix:{}/ovnnb_db.sock", kSystemOvnRun), .on_port_status = {}, .on_state = {}});
  if (!writer.wait_connected(std::chrono::seconds(5)))
    throw Fault(FaultKind::unavailable, "The distribution's OVN does not answer, and holds rows of this cloud.", "systemctl start ovn-central");
  const ovn::SyncResult sent = writer.reconcile({});
  writer.wait_hypervisors(sent.nb_cfg, std::chrono::seconds(5));
}

/// A lab's host, perhaps of another lab that we do not see, has its own mounted over the folder (lab/init.cpp): to remove the
/// folder would take it from under the host.
bool is_held(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  ScopeExit closer([fd] { close(fd); });
  return flock(fd, LOCK_EX | LOCK_NB) != 0;
}

void undo(const std::string& line) {
  const std::string path = line.substr(line.find(':') + 1);
  const bool promiscuous = line.rfind("promiscuous:", 0) == 0, up = line.rfind("up:", 0) == 0;
  if (promiscuous || up) {
    if (!netns::find_link("", path)) return;
    promiscuous ? netns::set_promiscuous("", path, false) : netns::set_up("", path, false);
    return;
  }
  if (line.rfind("mount:", 0) == 0 && netns::list().empty()) umount2(path.c_str(), MNT_DETACH);
  if (!is_held(path)) rmdir(path.c_str());  // only if it is empty
}

}  // namespace

void claim_folder(const std::string& path, mode_t mode) {
  fs::create_directories(path);
  chmod(path.c_str(), mode);
  if (fs::exists(path + kMarker)) return;
  for (const auto& entry : fs::directory_iterator(path)) {
    // A log may come before the supervisor that claims the folder.
    if (entry.path().extension() == ".log" || entry.path().extension() == ".lock" || entry.path().filename() == "link") continue;
    if (entry.path().filename() == "secrets" || entry.path().filename().string().rfind(kUnfinished, 0) == 0) continue;
    throw Fault(FaultKind::conflict, fmt::format("{} holds files that are not Virga's: {}.", path, entry.path().filename().string()),
                "Choose another folder in virga.toml, or empty it.");
  }
  write_file(path + kMarker, "This folder belongs to Virga; `virga down --purge` removes it.\n");
}

void remove_claimed_folder(const std::string& path) {
  if (!fs::exists(path + kMarker)) return;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(path)) entries.push_back(entry.path());
  for (const fs::path& entry : entries)
    if (entry != path + kMarker) fs::remove_all(entry);
  fs::remove(path + kMarker);  // last: cut off before, it is still ours
  if (rmdir(path.c_str()) != 0 && errno != EBUSY && errno != EROFS)  // a mount point stays, empty
    throw Fault(FaultKind::internal, fmt::format("{} cannot be removed: {}.", path, strerror(errno)));
}

void claim_directories(const Config& config) {
  claim_folder(config.cloud.state_dir, 0711);
  claim_folder(config.cloud.run_dir, 0755);
  claim_folder(config.cloud.log_dir, 0751);  // `serve`, which is not root, opens its logs anew when they are rotated
}

void leave_engines(const Config& config, const Engines& engines) {
  if (config.trial() || engines.none) return;
  end_system_guests(engines, true);
  const std::optional<Distribution> choice = chosen_distribution(config);
  const bool touched = choice && choice->before;
  if (touched && !engines.own_ovn) empty_northbound();
  if (engines.own_ovs && !socket_answers(engines.ovs_socket)) return;
  restore_switch(config, engines);
  if (!touched) return;
  if (!engines.own_ovn && !choice->before->external_ids.count("ovn-remote")) remove_chassis(engines);
  Distribution restored = *choice;
  restored.before.reset();
  keep_distribution(config, restored);
}

namespace {

/// Another controller lives on this database: it is not ours to empty.
bool is_shared(const Config& config, db::Database& database) {
  const std::string file = Paths(config).controller_id;
  const std::string own = fs::exists(file) ? controllers::controller_id(file) : "";
  for (const db::Migration& m : db::migrations())
    if (m.name == "controllers" && database.schema_version() < m.number) return false;  // there is no such table yet
  return database.read([&](db::Tx& tx) {
    return tx.first("SELECT 1 FROM controllers WHERE id <> ? AND seen_at > ?", own, db::database_now(tx) - controllers::kDeadAfter).has_value();
  });
}

}  // namespace

bool empty_database(const Config& config) {
  if (config.database.url.empty() || (config.has_control() && !config.hosts.controllers.empty())) return false;  // a controller that joined others
  std::vector<std::string> tables = {"schema_migrations", "schema_migration_progress"};
  for (const db::Migration& m : db::migrations()) {
    constexpr std::string_view kMakes = "CREATE TABLE ";
    for (size_t at = m.sql.find(kMakes); at != m.sql.npos; at = m.sql.find(kMakes, at)) {
      at += kMakes.size();
      tables.emplace_back(m.sql.substr(at, m.sql.find_first_of(" (", at) - at));
    }
  }
  const auto database = db::open({config.database_url()});
  if (database->schema_version() == 0) return true;
  if (is_shared(config, *database)) {
    log::warn("other controllers live: the database stays as it is");
    return false;
  }
  database->write([&](db::Tx& tx) {
    tx.exec("SET SESSION foreign_key_checks = 0");  // of a connection that ends with this function
    for (const std::string& table : tables) tx.exec("DROP TABLE IF EXISTS " + table);
  });
  return true;
}

void remember_made(const Config& config, const std::string& what) {
  std::ofstream(config.cloud.state_dir + kMade, std::ios::app) << what << '\n';
}

void undo_made(const Config& config) {
  std::ifstream made(config.cloud.state_dir + kMade);
  for (std::string line; std::getline(made, line);) undo(line);
}

void remove_all_traces(const Config& config) {
  remove_namespaces(config);
  remove_claimed_folder(config.cloud.run_dir);
  remove_claimed_folder(config.cloud.log_dir);
  undo_made(config);
  remove_claimed_folder(config.cloud.state_dir);
}

}  // namespace virga::cloud
