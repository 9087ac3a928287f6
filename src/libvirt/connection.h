#pragma once
// The connection to libvirtd: opened, watched and re-opened; libvirt's errors as Faults; RAII for its
// handles.

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fault.h"
#include "base/ids.h"
#include "libvirt/probe.h"

namespace virga::libvirt {

using ConnectHandle = std::shared_ptr<virConnect>;
struct DomainCloser {
  void operator()(virDomainPtr domain) const { virDomainFree(domain); }
};
using DomainHandle = std::unique_ptr<virDomain, DomainCloser>;

/// The last error of this thread's libvirt calls as a Fault. `doing` completes "Could not …".
Fault last_fault(const std::string& doing);
/// libvirt's code of this thread's last error.
int last_code();
std::string uuid_of(virDomainPtr domain);

/// Runs libvirt's event loop in a thread as long as somebody holds it. libvirt has one loop per process,
/// hence the shared ownership.
class EventLoop {
 public:
  static std::shared_ptr<EventLoop> acquire();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

 private:
  EventLoop();
  std::shared_ptr<std::atomic<bool>> stop_ = std::make_shared<std::atomic<bool>>(false);
  int timer_;
  std::thread thread_;
};

/// Where events go; outlives the connection as long as libvirt may still call it.
class EventSink {
 public:
  void set(std::function<void(const ServerId&)> callback);
  void changed(const std::string& uuid);
  void closed();
  bool take_closed();  ///< these two with `mutex` held
  bool is_closed() const { return closed_; }
  std::set<std::string> known();

  std::mutex mutex;
  std::condition_variable wake;

 private:
  std::function<void(const ServerId&)> callback_;
  std::set<std::string> known_;  ///< domains seen since the start, to be looked at again after a reconnect
  bool closed_ = false;
};

class Connection {
 public:
  explicit Connection(std::string uri);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Throws Fault(unavailable) while libvirtd is away or hangs.
  ConnectHandle get();
  /// Why there is no connection; "" if there is one.
  std::string problem();
  EventSink& sink() { return *sink_; }

 private:
  void keep_open();
  bool try_open();
  void drop();
  void announce_all(virConnectPtr connect);

  const std::string uri_;
  std::shared_ptr<EventLoop> loop_;
  std::shared_ptr<EventSink> sink_;
  std::optional<Probe> probe_;
  ConnectHandle connect_;  ///< guarded by sink_->mutex, as are those below
  std::vector<int> callbacks_;
  std::string why_not_ = "not tried yet";
  bool tried_ = false;
  bool stopping_ = false;
  std::thread keeper_;
};

}  // namespace virga::libvirt
