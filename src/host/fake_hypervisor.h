#pragma once
// A hypervisor without guests: domains are rows in memory (and lines in a file, so that a restarted agent
// adopts them). For API tests and scale benches, chosen in the configuration; tests inject delays and
// failures.

#include <atomic>
#include <condition_variable>
#include <set>
#include <thread>

#include "host/hypervisor.h"
#include "host/storage.h"

namespace virga::host {

class FakeHypervisor final : public Hypervisor {
 public:
  /// `state_file` empty: memory only.
  explicit FakeHypervisor(const std::string& state_file = {});
  ~FakeHypervisor() override;

  HostCapabilities capabilities() override;
  std::vector<Domain> list() override;
  Domain find(const ServerId& id) override;
  void define(const DomainSpec& spec) override;
  void start(const ServerId& id) override;
  void shutdown(const ServerId& id) override;
  void destroy(const ServerId& id) override;
  void reboot(const ServerId& id) override;
  void reset(const ServerId& id) override;
  void undefine(const ServerId& id) override;
  void pause(const ServerId& id) override;
  void resume(const ServerId& id) override;
  void migrate(const ServerId& id, const MigrationPath& path) override;
  std::optional<MigrationProgress> migration_progress(const ServerId& id) override;
  void cancel_migration(const ServerId& id) override;
  bool hurry_migration(const ServerId& id) override;
  std::string describe_incoming(const DomainSpec& spec) override;
  int open_incoming(const DomainSpec& spec, MigrationChannel channel, const MigrationPath& here) override;
  std::string vnc_socket(const ServerId& id) override;
  void on_change(std::function<void(const ServerId&)> callback) override;

  /// Called at the start of each call with its name ("start") and domain; may throw or block. For tests.
  void inject(std::function<void(const std::string& call, const ServerId& id)> fault);
  /// What the guest itself, or an operator, does: changes the power and tells on_change.
  void set_power(const ServerId& id, DomainPower power);
  /// Adds a domain that the agent did not make.
  void add_foreign(Domain domain);
  int count(const std::string& call) const;  ///< how often a call was made

 private:
  void enter(const char* call, const ServerId& id);
  void change(const ServerId& id, const std::function<void(Domain&)>& f);
  void save(const Domain& domain);
  void load(const std::string& path);

  void receive(const DomainSpec& spec, int socket);

  mutable std::mutex mutex_;
  std::map<ServerId, int> moving_;      ///< sockets of those that leave
  std::vector<std::thread> arrivals_;
  std::set<int> arriving_;              ///< their sockets
  std::map<ServerId, Domain> domains_;
  std::map<std::string, int> calls_;
  std::function<void(const std::string&, const ServerId&)> inject_;
  std::function<void(const ServerId&)> changed_;
  int fd_ = -1;
};

/// Files that are only remembered; a server with a domain in `hypervisor` has its disk.
class FakeStorage final : public Storage {
 public:
  explicit FakeStorage(FakeHypervisor& hypervisor) : hypervisor_(hypervisor) {}
  ServerFiles look(const ServerId& server, int64_t disk) override;
  std::vector<ServerId> servers() override;
  ServerPaths paths(const ServerId& server, int64_t disk) override;
  std::string ensure_image(const link::ImageRef& image, const FetchImage& fetch) override;
  void create_disk(const DiskOf& disk, const link::ImageRef& image, GiB size) override;
  void copy_disk(const DiskOf& disk, int64_t from, GiB size) override;
  void receive_disk(const DiskOf& disk, const link::ImageRef& image, GiB size, const FetchDisk& fetch) override;
  link::AgentSide::Disk read_disk(const DiskOf& disk) override;
  void remove_disk(const DiskOf& disk) override;
  void write_config_drive(const ServerId& server, const std::vector<link::ConfigDriveFile>& files) override;
  void remove(const ServerId& server) override;
  GiB capacity() override { return GiB{1'000'000}; }

 private:
  FakeHypervisor& hypervisor_;
  std::mutex mutex_;
  std::map<ServerId, ServerFiles> files_;
};

}  // namespace virga::host
