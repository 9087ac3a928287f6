#pragma once
// The agent's inside: inbox, timers and reports around the reconciler.
//
// Locks: one mutex for everything below "guarded". Records are per server; a record's `memory` belongs to the
// server's serial job and is touched by nobody else.

#include <condition_variable>
#include <set>
#include <thread>

#include "host/api.h"
#include "host/consoles.h"
#include "host/departures.h"
#include "host/metadata.h"
#include "host/prefetcher.h"
#include "host/reconciler.h"
#include "host/serial_queues.h"

namespace virga::host {

class Agent::Core final : public link::AgentSide, public std::enable_shared_from_this<Agent::Core> {
 public:
  Core(AgentOptions options, Hypervisor& hypervisor, Storage& storage, Clock& clock);
  ~Core() override;
  void start();
  void stop();
  AgentStatus status() const;
  bool refresh_certificate();

  // link::AgentSide
  link::HostFacts facts() override;
  void assigned(const link::Assignment& assignment) override;
  std::string console_log(const ServerId& server, size_t max_bytes) override;
  std::shared_ptr<link::ByteStream> open_console(const ServerId& server,
                                                 link::AgentHub::Console kind) override;
  Disk open_disk(const ServerId& server, int64_t disk) override;
  int open_tunnel(const ServerId& server, const std::string& channel) override;

 private:
  using Steady = std::chrono::steady_clock;
  struct Record {
    std::optional<link::DesiredServer> desired;
    link::ObservedServer observed;  ///< as last reported, without steps
    uint64_t stamp = 0;             ///< when `observed` was made, in reports
    std::shared_ptr<Memory> memory = std::make_shared<Memory>();
  };

  FetchImage image_fetcher();
  void look_at(const ServerId& server);
  void loop();
  void take_inbox(std::vector<link::Assignment> inbox);
  using Fences = std::map<ServerId, int64_t>;
  bool accept(const link::Assignment& assignment, int64_t& epoch);
  std::set<ServerId> check_fences(const link::Assignment& assignment, Fences& fences) const;
  bool make_durable(int64_t epoch, const Fences& fences);
  std::vector<ServerId> merge(const link::Assignment& assignment, const std::set<ServerId>& refused);
  void fire_timers();
  void send_reports();
  void watch();
  void tell_problems();
  void work(const ServerId& server);
  void resync();
  void publish(const ServerId& server, Outcome outcome);
  void tell(link::ObservedServer observed);  ///< locked
  bool quarantined(const ServerId& server) const;  ///< locked
  void want_metadata();
  void report_action(link::ActionReport report);
  void wake_in(const ServerId& server, std::chrono::milliseconds delay);  ///< locked

  const AgentOptions options_;
  Hypervisor& hypervisor_;
  Storage& storage_;
  Clock& clock_;
  const HostId host_id_;
  Journal journal_;
  Consoles consoles_;
  const std::string migrate_dir_;
  Departures departures_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // guarded:
  std::vector<link::Assignment> inbox_;
  std::vector<link::Assignment> stalled_;  ///< not taken, because the journal could not be written; tried again
  std::map<ServerId, Record> records_;
  std::multimap<Steady::time_point, ServerId> timers_;
  std::map<ServerId, link::ObservedServer> reports_;
  std::vector<link::ActionReport> action_reports_;
  bool full_wanted_ = false;  ///< a connection began: the next resync reports everything
  bool full_ready_ = false;   ///< reports_ has everything, and is to be sent as such
  bool full_seen_ = false;    ///< before the first full assignment nothing can be called unassigned
  std::optional<int64_t> full_epoch_;  ///< of the last full assignment, unless it was refused
  Steady::time_point full_at_;         ///< when that came
  bool stopping_ = false;
  uint64_t stamps_ = 0;
  bool stuck_ = false;  ///< of the loop: the hypervisor could not work
  std::string refused_;
  std::optional<HostCapabilities> capabilities_;  ///< as last seen

  Reconciler reconciler_;
  std::unique_ptr<SerialQueues> queues_;
  std::unique_ptr<Prefetcher> prefetcher_;
  std::unique_ptr<MetadataService> metadata_;
  std::unique_ptr<link::AgentConnection> connection_;
  std::thread thread_;
};

}  // namespace virga::host
