#include "ovn/client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/text.h"
#include "ovn/json_stream.h"
#include "ovn/socket.h"

namespace virga::ovn {
namespace {

using Steady = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Pending {
  bool done = false;
  std::optional<Fault> fault;
  json::array results;
};

FaultKind kind_of(std::string_view error) {
  if (error == "constraint violation" || error == "referential integrity violation" || error == "timed out" ||
      error == "aborted" || error == "duplicate uuid")
    return FaultKind::conflict;
  if (error == "resources exhausted" || error == "I/O error" || error == "not allowed" ||
      error == "not leader")
    return FaultKind::unavailable;
  if (error == "permission error" || error == "not owner") return FaultKind::forbidden;
  return FaultKind::internal;
}

}  // namespace

std::optional<Fault> fault_of(const json::array& operations, const json::array& results) {
  for (size_t i = 0; i < results.size(); ++i) {
    const auto* result = results[i].if_object();
    if (!result || !result->contains("error")) continue;
    const std::string error = find_string(*result, "error");
    std::string where = "at commit";
    if (const auto* op = i < operations.size() ? operations[i].if_object() : nullptr)
      where = fmt::format("in {} of {}", find_string(*op, "op"), find_string(*op, "table"));
    return Fault(kind_of(error),
                 fmt::format("OVSDB refused: {} {} ({}).", error, where, find_string(*result, "details")), {},
                 error);
  }
  return std::nullopt;
}

class Client::Impl {
 public:
  explicit Impl(ClientOptions options)
      : options_(std::move(options)),
        remotes_(split(options_.remote, ',')),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    stop_ = true;
    wake();
    thread_.join();
  }

  json::array transact(json::array operations, milliseconds deadline);

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool ready_ = false;
  std::string cause_ = "not connected yet";
  Replica replica_;
  ClientOptions options_;

 private:
  void run();
  void session(const std::string& remote);
  void pump(int fd);
  void receive(int fd, JsonStream& stream);
  void flush(int fd);
  void dispatch(const json::object& message);
  void answer(const json::object& message);
  void begin_monitor(const json::value& schema);
  void finish_monitor(const json::value& initial);
  void lose(const std::string& cause);
  void send(const json::object& message);
  void rest(milliseconds how_long);
  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_.get(), &one, sizeof one);
  }

  std::vector<std::string> remotes_;
  FileDescriptor wake_;
  std::atomic<bool> stop_ = false;
  std::string out_;  ///< under mutex_, as the next three
  int64_t next_id_ = 1;
  std::map<int64_t, std::shared_ptr<Pending>> pending_;
  std::thread thread_;
};

void Client::Impl::send(const json::object& message) {
  const std::string text = json::serialize(message);
  const std::lock_guard lock(mutex_);
  out_ += text;
}

void Client::Impl::rest(milliseconds how_long) {
  pollfd p{wake_.get(), POLLIN, 0};
  if (!stop_) poll(&p, 1, static_cast<int>(how_long.count()));
}

void Client::Impl::run() {
  std::minstd_rand random(std::random_device{}());
  milliseconds pause{50};
  for (size_t attempt = 0; !stop_; ++attempt) {
    bool was_ready = false;
    try {
      session(remotes_[attempt % remotes_.size()]);
    } catch (const std::exception& error) {
      was_ready = ready_;  // only this thread writes it
      if (was_ready) log::warn("OVSDB {}: connection lost: {}", options_.database, error.what());
      lose(error.what());
    }
    pause = was_ready ? milliseconds(50) : std::min(pause * 2, options_.reconnect_max);
    rest(pause / 2 + milliseconds(random() % (pause.count() / 2 + 1)));
  }
  lose("the client is closing");
}

void Client::Impl::lose(const std::string& cause) {
  bool was_ready;
  {
    const std::lock_guard lock(mutex_);
    was_ready = std::exchange(ready_, false);
    cause_ = cause;
    out_.clear();
    for (auto& [id, p] : pending_) {
      p->fault =
          Fault(FaultKind::unavailable, "The connection to OVSDB was lost before the answer: " + cause);
      p->done = true;
    }
    pending_.clear();
  }
  changed_.notify_all();
  if (was_ready && options_.on_state) options_.on_state(false);
}

void Client::Impl::session(const std::string& remote) {
  const FileDescriptor fd = connect_to(remote, milliseconds(3000));
  send({{"method", "get_schema"}, {"params", {options_.database}}, {"id", "schema"}});
  pump(fd.get());
}

void Client::Impl::pump(int fd) {
  JsonStream stream(options_.max_message);
  auto heard = Steady::now();
  bool probed = false;
  while (!stop_) {
    bool pending_output;
    {
      const std::lock_guard lock(mutex_);
      pending_output = !out_.empty();
    }
    pollfd fds[2] = {{fd, static_cast<short>(POLLIN | (pending_output ? POLLOUT : 0)), 0},
                     {wake_.get(), POLLIN, 0}};
    const auto silence = std::chrono::duration_cast<milliseconds>(Steady::now() - heard);
    const auto limit = probed ? 2 * options_.probe : options_.probe;
    const auto left = std::max(limit - silence, milliseconds(0));
    if (poll(fds, 2, static_cast<int>(left.count())) < 0 && errno != EINTR)
      throw Fault(FaultKind::unavailable, "poll failed");
    uint64_t ignored;
    if (fds[1].revents) [[maybe_unused]]
      const ssize_t n = ::read(wake_.get(), &ignored, sizeof ignored);
    if (fds[0].revents & (POLLIN | POLLHUP | POLLERR)) {
      receive(fd, stream);
      heard = Steady::now();
      probed = false;
    } else if (Steady::now() - heard >= limit) {
      if (probed) throw Fault(FaultKind::unavailable, "the server does not answer");
      probed = true;
      send({{"method", "echo"}, {"params", json::array()}, {"id", "echo"}});
    }
    flush(fd);
  }
}

void Client::Impl::receive(int fd, JsonStream& stream) {
  char buffer[65536];
  const ssize_t n = recv(fd, buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n == 0) throw Fault(FaultKind::unavailable, "the server closed the connection");
  if (n < 0) throw Fault(FaultKind::unavailable, strerror(errno));
  stream.feed({buffer, static_cast<size_t>(n)}, [this](const json::object& message) { dispatch(message); });
}

void Client::Impl::flush(int fd) {
  const std::lock_guard lock(mutex_);
  if (out_.empty()) return;
  const ssize_t n = ::send(fd, out_.data(), out_.size(), MSG_NOSIGNAL);
  if (n > 0)
    out_.erase(0, static_cast<size_t>(n));
  else if (n < 0 && errno != EAGAIN && errno != EINTR)
    throw Fault(FaultKind::unavailable, strerror(errno));
}

void Client::Impl::dispatch(const json::object& message) {
  const std::string method = find_string(message, "method");
  if (method.empty()) return answer(message);
  const auto* params = find_array(message, "params");
  if (method == "echo") {
    const auto* id = message.if_contains("id");
    send(
        {{"id", id ? *id : json::value()}, {"result", params ? *params : json::array()}, {"error", nullptr}});
  } else if (method == "update2") {
    if (!params || params->size() != 2)
      throw Fault(FaultKind::bad_gateway, "The OVSDB server sent a malformed update.");
    {
      const std::lock_guard lock(mutex_);
      if (!ready_) return;
      replica_.apply((*params)[1], options_.on_change);
    }
    changed_.notify_all();
  } else if (method == "monitor_canceled") {
    throw Fault(FaultKind::unavailable, "the server cancelled the monitor");
  }
}

void Client::Impl::answer(const json::object& message) {
  const auto* id = message.if_contains("id");
  const auto* result = message.if_contains("result");
  const json::value none;
  if (!result) result = &none;
  const bool failed = has_value(message, "error");
  if (id && id->is_string()) {
    const std::string what = str(*id);
    if (what == "echo") return;
    if (failed)
      throw Fault(FaultKind::unavailable,
                  fmt::format("{} was refused: {}", what, json::serialize(message.at("error"))));
    if (what == "schema") begin_monitor(*result);
    if (what == "monitor") finish_monitor(*result);
    return;
  }
  if (!id || !id->is_int64()) return;
  {
    const std::lock_guard lock(mutex_);
    const auto it = pending_.find(id->get_int64());
    if (it == pending_.end()) return;
    if (failed || !result->is_array())
      it->second->fault =
          Fault(FaultKind::internal, "OVSDB refused the request: " + json::serialize(message));
    else
      it->second->results = result->get_array();
    it->second->done = true;
    pending_.erase(it);
  }
  changed_.notify_all();
}

void Client::Impl::begin_monitor(const json::value& schema) {
  if (!schema.is_object()) throw Fault(FaultKind::bad_gateway, "The OVSDB server sent a malformed schema.");
  json::object requests;
  {
    const std::lock_guard lock(mutex_);
    replica_.set_schema(schema.get_object(), options_.monitors);
    for (const auto& monitor : options_.monitors) {
      json::array columns;
      for (const auto& c : monitor.columns) {
        if (replica_.has_column(monitor.table, c))
          columns.emplace_back(c);
        else
          log::warn("OVSDB {} has no column {}.{}", options_.database, monitor.table, c);
      }
      if (!columns.empty())
        requests[monitor.table] = json::array{json::object{{"columns", std::move(columns)}}};
    }
  }
  send({{"method", "monitor_cond"},
        {"params", {options_.database, "virga", std::move(requests)}},
        {"id", "monitor"}});
}

void Client::Impl::finish_monitor(const json::value& initial) {
  {
    const std::lock_guard lock(mutex_);
    replica_.reset(initial, options_.on_change);
    ready_ = true;
    cause_.clear();
  }
  log::info("OVSDB {}: connected", options_.database);
  changed_.notify_all();
  if (options_.on_state) options_.on_state(true);
}

json::array Client::Impl::transact(json::array operations, milliseconds deadline) {
  json::array params{options_.database};
  for (const auto& op : operations) params.push_back(op);
  const auto pending = std::make_shared<Pending>();
  std::unique_lock lock(mutex_);
  if (!ready_)
    throw Fault(FaultKind::unavailable,
                fmt::format("OVSDB {} is not reachable: {}", options_.database, cause_));
  const int64_t id = next_id_++;
  // Serialised under the lock, so that the order of ids is the order on the wire.
  const std::string text =
      json::serialize(json::object{{"method", "transact"}, {"params", std::move(params)}, {"id", id}});
  if (out_.size() > options_.max_message)
    throw Fault(FaultKind::unavailable,
                fmt::format("OVSDB {} does not take what was sent to it.", options_.database));
  out_ += text;
  pending_[id] = pending;
  wake();
  if (!changed_.wait_for(lock, deadline, [&] { return pending->done; })) {
    pending_.erase(id);
    throw Fault(FaultKind::timeout,
                fmt::format("OVSDB {} did not answer in {} ms.", options_.database, deadline.count()));
  }
  lock.unlock();
  if (pending->fault) throw *pending->fault;
  if (auto fault = fault_of(operations, pending->results)) throw *fault;
  return std::move(pending->results);
}

Client::Client(ClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Client::~Client() = default;

bool Client::ready() const {
  const std::lock_guard lock(impl_->mutex_);
  return impl_->ready_;
}

bool Client::wait_ready(milliseconds timeout) const {
  std::unique_lock lock(impl_->mutex_);
  return impl_->changed_.wait_for(lock, timeout, [&] { return impl_->ready_; });
}

void Client::require_ready(milliseconds timeout) const {
  if (wait_ready(timeout)) return;
  const std::lock_guard lock(impl_->mutex_);
  throw Fault(FaultKind::unavailable,
              fmt::format("OVSDB {} is not reachable: {}", impl_->options_.database, impl_->cause_),
              "Look at `virga service status`.");
}

json::array Client::transact(json::array operations, milliseconds deadline) {
  return impl_->transact(std::move(operations), deadline);
}

void Client::read(const std::function<void(const Replica&)>& f) const {
  const std::lock_guard lock(impl_->mutex_);
  f(impl_->replica_);
}

bool Client::wait_for(milliseconds timeout, const std::function<bool(const Replica&)>& condition) const {
  std::unique_lock lock(impl_->mutex_);
  return impl_->changed_.wait_for(lock, timeout, [&] { return impl_->ready_ && condition(impl_->replica_); });
}

}  // namespace virga::ovn
