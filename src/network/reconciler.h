#pragma once
// Keeps OVN's northbound database equal to what plan.h makes of the cloud's database, and the ports' status
// equal to what OVN says. Level-triggered: a wake-up says "look again", never what to write; at start, after
// each reconnection and when hosts come or go, everything is looked at.
//
// With several controllers one at a time does this work: who holds the lease "network". What changes stands in a table then
// (dirty_queue.h), which the holder looks at every second, and at once when it is told to. Who takes over looks at
// everything. A controller that OVN does not answer takes no lease. Each controller has databases of OVN's of its own; those of
// the first are used as long as it lives (it holds the lease "network.home", and others then leave "network" to it): hosts'
// ovn-controllers know all controllers, and a stand-in lets them in only once its databases are filled.
//
// Two threads: one writes to OVN (and waits, with growing pauses, while OVN is away), the other writes port
// status to the cloud's database, so that neither holds up the other.

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "network/dirty_queue.h"
#include "network/plan.h"
#include "network/service.h"
#include "network/snapshot.h"
#include "ovn/api.h"

namespace virga::network {

class Reconciler {
 public:
  struct Settings {
    std::string northbound, southbound;  ///< no northbound = no OVN: nothing is done
    PlanOptions plan;
    std::function<void(const ServerId&)> on_server_port;  ///< a server's port changed its status
    std::string holder;  ///< this controller's id, if there may be several; "": it is the only one
    bool stand_in = false;
    std::function<void(bool)> serve_chassis;
  };
  Reconciler(NetworkService& service, Settings settings);
  ~Reconciler();
  Reconciler(const Reconciler&) = delete;

  void start();
  void stop();
  /// Thread-safe, quick, before start() too.
  void add(const Dirty& dirty) noexcept;
  /// There may be something new in the table.
  void look_again() noexcept;
  /// True if what changes goes through the table.
  bool shared() const { return !settings_.holder.empty() && !settings_.northbound.empty(); }

 private:
  struct Work {
    bool everything = false;
    DirtySet dirty;
    std::vector<QueuedDirty> rows;  ///< of the table, that are in `dirty`
    bool empty() const { return !everything && dirty.empty(); }
  };
  using Steady = std::chrono::steady_clock::time_point;

  void run_plans();
  Work take_work();
  void take_queued(Work& work);
  void lead();
  bool take_lead(Steady now);
  void look_at_door(Steady now, bool leads);
  void give_back(const Work& work);
  void do_work(const Work& work);
  void compare_epochs();
  void do_each(const Work& work);
  void apply_everything();
  void apply_part(const DirtySet& dirty);
  bool update_chassis();
  PlanOptions plan_options() const;
  void remember_dhcp(const Snapshot& snapshot);
  bool pause();

  void run_status();
  void write_status(const std::map<std::string, bool>& news);
  void look_at_status(const Snapshot& snapshot);

  NetworkService& service_;
  const Settings settings_;
  std::unique_ptr<ovn::NorthboundWriter> northbound_;
  std::unique_ptr<ovn::SouthboundWatcher> southbound_;

  std::mutex mutex_;
  std::condition_variable wake_plans_, wake_status_;
  bool stopping_ = false, started_ = false, look_at_chassis_ = false;
  bool leads_ = false;         ///< holds the lease, or needs none
  bool look_at_queue_ = false;
  Work pending_;
  std::set<std::string> up_;    ///< ports that are up, as OVN says
  std::set<std::string> news_;  ///< ports whose stored status may differ from that
  std::set<std::string> doubted_;  ///< that are down, as a database says that hosts only come to
  Steady doubt_until_{};

  // Of the planning thread.
  std::vector<std::string> chassis_;
  std::map<std::string, std::set<std::string>> dhcp_of_network_;  ///< what was written, to find what went
  std::chrono::milliseconds pause_{0};
  Steady leads_until_{}, renew_at_{}, renew_home_at_{}, look_once_more_{};
  bool filled_ = false;       ///< since this controller leads, OVN's databases have been made equal once
  std::optional<bool> door_;  ///< hosts are let in, or not; nothing: what it was before this process is not known
  Steady other_leads_since_{};  ///< another holds the lease, or nothing is known of that
  std::thread plans_, status_;
};

}  // namespace virga::network
