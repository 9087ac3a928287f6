#pragma once
// Both ends' other halves for tests of the agent link.

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <functional>

#include "link/api.h"

namespace virga::link {

/// A value that tests wait on.
class Watched {
 public:
  void change(const std::function<void()>& f) {
    std::lock_guard lock(mutex_);
    f();
    changed_.notify_all();
  }
  /// A copy of what only who holds the lock may look at.
  template <class T>
  T copy(const T& value) {
    std::lock_guard lock(mutex_);
    return value;
  }
  bool wait(const std::function<bool()>& condition, std::chrono::milliseconds timeout = std::chrono::seconds(10)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, condition);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

inline const std::string kServer = "11111111-2222-4333-8444-555555555555";
inline const HostId kHost("aaaaaaaa-2222-4333-8444-555555555555");

class StringSource final : public ByteSource {
 public:
  explicit StringSource(std::string text) : text_(std::move(text)) {}
  size_t read(std::span<char> buffer) override {
    const auto n = std::min(buffer.size(), text_.size() - at_);
    std::copy_n(text_.data() + at_, n, buffer.data());
    at_ += n;
    return n;
  }

 private:
  std::string text_;
  size_t at_ = 0;
};

struct FakeController : Controller {
  Watched watched;
  int connects = 0, disconnects = 0, heartbeats = 0;
  Assignment next;
  HostFacts facts;
  std::vector<ObservedServer> seen;
  std::vector<ActionReport> actions;
  std::vector<std::string> problems;
  std::optional<Fault> refuse;
  std::string image = "image bytes";

  std::vector<std::string> certificates;  ///< that came, PEM

  void admit(const HostFacts& f, const std::string& certificate) override {
    watched.change([&] { certificates.push_back(certificate); });
    if (refuse_admission && *refuse_admission == f.id) throw Fault(FaultKind::forbidden, "not this host");
  }
  std::optional<HostId> refuse_admission;
  std::string renew(const HostId& host, const std::string& request) override { return host.str() + " " + request; }
  Assignment connect(const HostFacts& f) override {
    watched.change([&] { ++connects, facts = f; });
    if (refuse) throw *refuse;
    Assignment answer;
    watched.change([&] { answer = next; });
    return answer;
  }
  void heartbeat(const HostId&, const std::vector<std::string>& p) override {
    watched.change([&] { ++heartbeats, problems = p; });
  }
  void observe(const HostId& host, bool, const std::vector<ObservedServer>& s,
               const std::vector<ActionReport>& a) override {
    EXPECT_EQ(host, kHost);
    watched.change([&] {
      seen.insert(seen.end(), s.begin(), s.end());
      actions.insert(actions.end(), a.begin(), a.end());
    });
  }
  void disconnected(const HostId&) override {
    watched.change([&] { ++disconnects; });
  }
  std::unique_ptr<ByteSource> open_image(const HostId&, const ImageId& id, uint64_t from) override {
    if (id.str() == "missing") throw Fault(FaultKind::not_found, "no such image");
    return std::make_unique<StringSource>(image.substr(from));
  }
  HostId disk_source(const HostId& host, const ServerId&, int64_t disk) override {
    if (disk == 0) throw Fault(FaultKind::forbidden, "the server is not moving to " + host.str());
    return kHost;
  }
  HostId tunnel_end(const HostId& from, const ServerId& server) override {
    if (server.str() != kServer) throw Fault(FaultKind::forbidden, "the server does not move from " + from.str());
    return tunnels_to;
  }
  HostId tunnels_to = kHost;
  MetadataReply metadata(const HostId&, const MetadataRequest& request) override {
    return {200, "text/plain", request.source_address + request.path};
  }
};

/// Sends back what it is sent.
class Echo final : public ByteStream {
 public:
  bool write(std::string_view bytes) override {
    if (bytes == "bye")
      receive_({});
    else
      receive_(bytes);
    return true;
  }
  void close() override {}
  void on_bytes(std::function<void(std::string_view)> receive) override { receive_ = std::move(receive); }

 private:
  std::function<void(std::string_view)> receive_;
};

struct FakeAgent final : AgentSide {
  Watched watched;
  std::vector<Assignment> assignments;
  std::atomic<bool> hang{false};
  HostId id = kHost;
  std::atomic<int> not_yet{0};  ///< how often the facts are not there yet

  HostFacts facts() override {
    if (not_yet-- > 0) throw Fault(FaultKind::unavailable, "libvirtd is away");
    HostFacts f;
    f.id = id;
    f.hostname = "host1";
    f.memory = MiB{1024};
    f.seen_epoch = 7;
    return f;
  }
  void assigned(const Assignment& a) override {
    watched.change([&] { assignments.push_back(a); });
  }
  std::string console_log(const ServerId& server, size_t max) override {
    watched.wait([&] { return !hang; });
    return (server.str() + " log").substr(0, max);
  }
  std::shared_ptr<ByteStream> open_console(const ServerId& server, AgentHub::Console) override {
    if (server.str() != kServer) throw Fault(FaultKind::conflict, "the server is not running", "Start it.");
    return std::make_shared<Echo>();
  }
  std::string disk = "disk bytes";
  uint64_t disk_size = 10;
  Disk open_disk(const ServerId&, int64_t) override {
    if (disk.empty()) throw Fault(FaultKind::conflict, "the server runs", "Stop it.");
    return {disk_size, std::make_unique<StringSource>(disk)};
  }
  std::function<int(const std::string& channel)> tunnel;  ///< set it with `watched`
  int open_tunnel(const ServerId&, const std::string& channel) override {
    std::function<int(const std::string& channel)> answer;
    watched.change([&] { answer = tunnel; });
    if (!answer) throw Fault(FaultKind::conflict, "the server is not coming here");
    return answer(channel);
  }
};

}  // namespace virga::link
