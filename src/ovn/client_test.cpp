// The client against a scripted peer: what a real server does rarely, or never should.

#include "ovn/client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "ovn/json_stream.h"

namespace virga::ovn {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const char* kSchema = R"({"tables":{"T":{"columns":{"name":{"type":"string"},
  "set":{"type":{"key":"string","min":0,"max":"unlimited"}},
  "map":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},
  "up":{"type":{"key":"boolean","min":0,"max":1}}}}}})";

/// Listens on a unix socket and runs the script for each connection, one after another.
class Peer {
 public:
  using Script = std::function<void(Peer&, int connection)>;
  explicit Peer(Script script) : path_(fmt::format("/tmp/virga-peer-{}.sock", getpid())) {
    unlink(path_.c_str());
    listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    path_.copy(a.sun_path, sizeof a.sun_path - 1);
    bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a);
    listen(listener_, 4);
    thread_ = std::thread([this, script = std::move(script)] {
      for (int n = 0; (fd_ = accept(listener_, nullptr, nullptr)) >= 0; ++n) {
        stream_ = std::make_unique<JsonStream>(1 << 20);
        script(*this, n);
        close(fd_);
      }
    });
  }
  ~Peer() {
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
    unlink(path_.c_str());
  }
  std::string remote() const { return "unix:" + path_; }
  void say(const std::string& text) { ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  /// The next message; empty once the client hung up.
  json::object hear() {
    while (queue_.empty()) {
      char buffer[4096];
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) return {};
      stream_->feed({buffer, static_cast<size_t>(n)},
                    [&](json::object m) { queue_.push_back(std::move(m)); });
    }
    json::object first = std::move(queue_.front());
    queue_.erase(queue_.begin());
    return first;
  }
  void greet(const std::string& initial) {
    hear();
    say(fmt::format(R"({{"id":"schema","result":{},"error":null}})", kSchema));
    hear();
    say(fmt::format(R"({{"id":"monitor","result":{},"error":null}})", initial));
  }

 private:
  std::string path_;
  int listener_ = -1, fd_ = -1;
  std::unique_ptr<JsonStream> stream_;
  std::vector<json::object> queue_;
  std::thread thread_;
};

ClientOptions options(const Peer& peer) {
  return {
      .remote = peer.remote(), .database = "D", .monitors = {{"T", {"name", "set", "map", "up", "absent"}}}};
}

TEST(ScriptedPeer, AppliesDifferences) {
  Peer peer([](Peer& p, int) {
    p.greet(
        R"({"T":{"u":{"initial":{"name":"a","set":["set",["x","y"]],"map":["map",[["k","v"],["l","w"]]]}}}})");
    p.say(R"({"method":"update2","id":null,"params":["virga",{"T":{"u":{"modify":{"up":true,
      "set":["set",["x","z"]],"map":["map",[["k","v"],["l","new"],["m","n"]]]}}}}]})");
    while (!p.hear().empty()) {
    }
  });
  Client client(options(peer));
  ASSERT_TRUE(client.wait_for(seconds(5), [](const Replica& r) {
    const Row* row = r.find("T", "u");
    return row && column(*row, "up").as_boolean();
  }));
  client.read([](const Replica& r) {
    const Row& row = *r.find("T", "u");
    EXPECT_EQ(column(row, "set").as_texts(), (std::vector<std::string>{"y", "z"}));
    EXPECT_EQ(column(row, "map").as_text_map(), (TextMap{{"l", "new"}, {"m", "n"}}));
  });
}

TEST(ScriptedPeer, AnswersEchoAndDropsAPeerThatTalksNonsense) {
  std::atomic<bool> echoed{false};
  Peer peer([&](Peer& p, int connection) {
    p.greet(R"({})");
    p.say(R"({"method":"echo","id":"e","params":["hi"]})");
    const json::object answer = p.hear();
    echoed = echoed || (answer.contains("result") && json::serialize(answer.at("result")) == R"(["hi"])");
    if (connection == 0)
      p.say(R"({"method":"update2","id":null,"params":["virga",{"T":{"u":{"modify":7}}}]})");
    while (!p.hear().empty()) {
    }
  });
  std::atomic<int> connected{0};
  ClientOptions o = options(peer);
  o.on_state = [&](bool up) { connected += up; };
  Client client(o);
  for (int i = 0; i < 200 && connected < 2; ++i) std::this_thread::sleep_for(milliseconds(20));
  EXPECT_EQ(connected, 2);
  EXPECT_TRUE(echoed);
}

TEST(ScriptedPeer, NoticesASilentPeerAndFailsWhatWasUnderWay) {
  Peer peer([](Peer& p, int) {
    p.greet(R"({})");
    while (!p.hear().empty()) {  // reads everything, answers nothing
    }
  });
  ClientOptions o = options(peer);
  o.probe = milliseconds(100);
  Client client(o);
  client.require_ready(seconds(5));
  try {
    client.transact({json::object{{"op", "comment"}, {"comment", "x"}}}, seconds(5));
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
  }
}

TEST(ScriptedPeer, RefusesWhenNobodyListens) {
  Client client({.remote = "unix:/tmp/virga-no-such-socket", .database = "D"});
  EXPECT_THROW(client.transact({}), Fault);
  EXPECT_THROW(client.require_ready(milliseconds(100)), Fault);
}

}  // namespace
}  // namespace virga::ovn
