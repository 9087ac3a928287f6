#include "libvirt/connection.h"

#include <atomic>

#include "base/log.h"

namespace virga::libvirt {

using namespace std::chrono_literals;

namespace {

FaultKind kind_of(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_DOMAIN:
      return FaultKind::not_found;
    case VIR_ERR_OPERATION_INVALID:
    case VIR_ERR_DOM_EXIST:
    case VIR_ERR_OPERATION_FAILED:
      return FaultKind::conflict;
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
      return FaultKind::not_implemented;
    case VIR_ERR_XML_ERROR:
    case VIR_ERR_XML_DETAIL:
    case VIR_ERR_INVALID_ARG:
      return FaultKind::bad_request;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_AGENT_UNRESPONSIVE:
      return FaultKind::timeout;
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INVALID_CONN:
    case VIR_ERR_RPC:
    case VIR_ERR_RESOURCE_BUSY:
      return FaultKind::unavailable;
    default:
      break;
  }
  // A connection that breaks during a call shows as a system or internal error of the RPC layer.
  if (error.domain == VIR_FROM_RPC || error.domain == VIR_FROM_REMOTE) return FaultKind::unavailable;
  return FaultKind::internal;
}

std::string hint_for(const virError& error, FaultKind kind) {
  std::string message = error.message ? error.message : "";
  auto says = [&](const char* part) { return message.find(part) != std::string::npos; };
  if (kind == FaultKind::unavailable) return "Look at `virga service status libvirt` and its log.";
  if (says("No space left")) return "The host's disk is full: free space, then try again.";
  if (says("Cannot allocate memory") || says("cannot set up guest memory"))
    return "The host has too little free memory for this guest.";
  if (says("Permission denied"))
    return "QEMU's user must be able to reach the server's folder and the base image.";
  if (says("Cannot access storage file")) return "A disk file of the server is missing on this host.";
  if (says("br-int") || says("ovs-vsctl"))
    return "Open vSwitch does not answer: look at `virga service status`.";
  return {};
}

void silent(void*, virErrorPtr) {}

}  // namespace

int last_code() {
  virErrorPtr error = virGetLastError();
  return error ? error->code : 0;
}

Fault last_fault(const std::string& doing) {
  virErrorPtr error = virGetLastError();
  if (!error) return Fault(FaultKind::internal, fmt::format("Could not {}.", doing));
  auto kind = kind_of(*error);
  return Fault(kind,
               fmt::format("Could not {}: {}", doing, error->message ? error->message : "unknown error"),
               hint_for(*error, kind));
}

std::string uuid_of(virDomainPtr domain) {
  char text[VIR_UUID_STRING_BUFLEN] = "";
  virDomainGetUUIDString(domain, text);
  return text;
}

std::shared_ptr<EventLoop> EventLoop::acquire() {
  static std::mutex mutex;  // libvirt's loop is one per process: so is its owner
  static std::weak_ptr<EventLoop> running;
  std::lock_guard lock(mutex);
  auto loop = running.lock();
  if (!loop) running = loop = std::shared_ptr<EventLoop>(new EventLoop);
  return loop;
}

EventLoop::EventLoop() {
  static std::once_flag once;
  std::call_once(once, [] {
    virInitialize();
    virEventRegisterDefaultImpl();
    virSetErrorFunc(nullptr, silent);
  });
  timer_ = virEventAddTimeout(
      -1, [](int, void*) {}, nullptr, nullptr);
  thread_ = std::thread([stop = stop_] {
    while (!*stop) {
      if (virEventRunDefaultImpl() < 0)
        log::error("libvirt's event loop failed: {}", last_fault("poll").message);
    }
  });
}

EventLoop::~EventLoop() {
  *stop_ = true;
  virEventUpdateTimeout(timer_, 0);
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
  virEventRemoveTimeout(timer_);
}

void EventSink::set(std::function<void(const ServerId&)> callback) {
  std::lock_guard lock(mutex);
  callback_ = std::move(callback);
}

void EventSink::changed(const std::string& uuid) {
  std::function<void(const ServerId&)> callback;
  {
    std::lock_guard lock(mutex);
    known_.insert(uuid);
    callback = callback_;
  }
  if (callback) callback(ServerId(uuid));
}

void EventSink::closed() {
  std::lock_guard lock(mutex);
  closed_ = true;
  wake.notify_all();
}

bool EventSink::take_closed() {
  return std::exchange(closed_, false);
}

std::set<std::string> EventSink::known() {
  std::lock_guard lock(mutex);
  return known_;
}

namespace {

using SinkRef = std::shared_ptr<EventSink>;

void free_sink(void* opaque) {
  delete static_cast<SinkRef*>(opaque);
}

int on_lifecycle(virConnectPtr, virDomainPtr domain, int, int, void* opaque) {
  (*static_cast<SinkRef*>(opaque))->changed(uuid_of(domain));
  return 0;
}
void on_reboot(virConnectPtr, virDomainPtr domain, void* opaque) {
  (*static_cast<SinkRef*>(opaque))->changed(uuid_of(domain));
}
void on_close(virConnectPtr, int, void* opaque) {
  (*static_cast<SinkRef*>(opaque))->closed();
}

}  // namespace

Connection::Connection(std::string uri)
    : uri_(std::move(uri)), loop_(EventLoop::acquire()), sink_(std::make_shared<EventSink>()) {
  if (uri_.starts_with("qemu")) probe_.emplace(uri_);  // other drivers live in this process: there is no daemon
  keeper_ = std::thread([this] { keep_open(); });
  std::unique_lock lock(sink_->mutex);
  sink_->wake.wait_for(lock, 5s, [this] { return tried_; });
}

Connection::~Connection() {
  {
    std::lock_guard lock(sink_->mutex);
    stopping_ = true;
    sink_->wake.notify_all();
  }
  sink_->set(nullptr);
  keeper_.join();
  drop();
}

std::string Connection::problem() {
  const bool hangs = probe_ && probe_->hangs();
  std::lock_guard lock(sink_->mutex);
  if (connect_ && !hangs) return {};
  return fmt::format("libvirt does not answer at {}: {}", uri_, hangs ? "it hangs" : why_not_);
}

ConnectHandle Connection::get() {
  auto why_not = problem();
  {
    std::lock_guard lock(sink_->mutex);
    if (connect_ && why_not.empty()) return connect_;
  }
  throw Fault(FaultKind::unavailable, why_not.empty() ? "libvirt does not answer: the connection was lost" : why_not,
              "Look at `virga service status libvirt` and its log; guests keep running meanwhile.");
}

void Connection::keep_open() {
  std::unique_lock lock(sink_->mutex);
  while (!stopping_) {
    if (sink_->take_closed() && connect_) {
      log::warn("libvirt closed the connection {}", uri_);
      lock.unlock();
      drop();
      lock.lock();
    }
    bool open = connect_ != nullptr;
    if (!open) {
      lock.unlock();
      open = try_open();
      lock.lock();
    }
    sink_->wake.wait_for(lock, open ? 3600s : 1s, [&] { return stopping_ || (open && sink_->is_closed()); });
  }
}

bool Connection::try_open() {
  virConnectPtr raw = virConnectOpen(uri_.c_str());
  std::string why = raw ? "" : last_fault("connect").message;
  if (raw) {
    // What is registered, libvirt frees; what it refused stays ours. (Of a driver in this process it takes a close
    // callback, and neither calls nor frees it.)
    if (probe_) {
      auto on_disconnect = std::make_unique<SinkRef>(sink_);
      if (virConnectRegisterCloseCallback(raw, on_close, on_disconnect.get(), free_sink) < 0)
        log::debug("libvirt at {} reports no disconnects", uri_);
      else
        on_disconnect.release();
    }
    auto add = [&](int id, virConnectDomainEventGenericCallback call) {
      auto to = std::make_unique<SinkRef>(sink_);
      const int n = virConnectDomainEventRegisterAny(raw, nullptr, id, call, to.get(), free_sink);
      if (n < 0) return;
      to.release();
      callbacks_.push_back(n);
    };
    add(VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle));
    add(VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(on_reboot));
  }
  {
    std::lock_guard lock(sink_->mutex);
    if (raw) connect_ = ConnectHandle(raw, [](virConnectPtr c) { virConnectClose(c); });
    why_not_ = why;
    tried_ = true;
    sink_->wake.notify_all();
  }
  if (raw) announce_all(raw);
  return raw != nullptr;
}

void Connection::drop() {
  ConnectHandle old;
  {
    std::lock_guard lock(sink_->mutex);
    old = std::move(connect_);
    connect_ = nullptr;
    why_not_ = "the connection was lost";
  }
  if (!old) return;
  for (int id : callbacks_) virConnectDomainEventDeregisterAny(old.get(), id);
  callbacks_.clear();
  virConnectUnregisterCloseCallback(old.get(), on_close);
}

void Connection::announce_all(virConnectPtr connect) {
  auto uuids = sink_->known();
  virDomainPtr* domains = nullptr;
  int count = virConnectListAllDomains(connect, &domains, 0);
  for (int i = 0; i < count; ++i) {
    uuids.insert(uuid_of(domains[i]));
    virDomainFree(domains[i]);
  }
  free(domains);
  for (const auto& uuid : uuids) sink_->changed(uuid);
}

}  // namespace virga::libvirt
