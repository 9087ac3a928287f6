// Two controllers, and a host that is connected to one of them: what the other asks comes through that one.

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/certificate.h"
#include "link/peers.h"
#include "tests/support/free_port.h"
#include "tests/support/link_fakes.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;

struct FakeControllerWithUploads : FakeController {
  std::unique_ptr<ByteSource> open_upload(const std::string& upload) override {
    if (upload != "here") return Controller::open_upload(upload);
    return std::make_unique<StringSource>(std::string(1 << 20, 'u'));
  }
};

class TwoHubs : public testing::Test {
 protected:
  TwoHubs() {
    char name[] = "/tmp/virga-peers.XXXXXX";
    dir_ = mkdtemp(name);
    a_address_ = "127.0.0.1:" + std::to_string(test::free_port());
    b_address_ = "127.0.0.1:" + std::to_string(test::free_port());
    alive_ = {a_address_, b_address_};
    a_ = start("a", a_address_, b_address_, a_controller_);
    b_ = start("b", b_address_, a_address_, b_controller_);
  }
  ~TwoHubs() override {
    connection_.reset();
    a_.reset();
    b_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<AgentHub> start(const std::string& name, const std::string& own, const std::string& other, Controller& controller) {
    const auto proof = make_server_certificate(ca_, {kControllerName, "127.0.0.1"}, now_);
    ServeOptions options{dir_ + "/" + name, own, {ca_.certificate, proof.certificate, proof.key}};
    options.controller_of = [other](const HostId& host) { return host == kHost ? other : ""; };
    options.controllers = [this] {
      const std::lock_guard lock(alive_mutex_);
      return alive_;
    };
    return serve(options, controller);
  }
  Credentials host_proof() const {
    const auto request = make_certificate_request("host1");
    return {ca_.certificate, sign_client_certificate(ca_, request.request, "host1", "virga:host:" + kHost.str(), now_), request.key};
  }
  void connect_to(std::vector<std::string> targets, std::function<void(const std::vector<std::string>&)> learned = {}) {
    connection_ = dial({std::move(targets), [proof = host_proof()] { return proof; }, std::move(learned)}, agent_);
    ASSERT_TRUE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }));
  }
  static bool connected(AgentHub& hub) {
    for (int i = 0; i < 1000 && !hub.connected(kHost); ++i) usleep(10'000);
    return hub.connected(kHost);
  }

  const WallTime now_ = std::chrono::system_clock::now();
  const PemPair ca_ = make_ca("hosts", now_);
  std::string dir_, a_address_, b_address_;
  std::mutex alive_mutex_;
  std::vector<std::string> alive_;
  FakeControllerWithUploads a_controller_, b_controller_;
  FakeAgent agent_;
  std::unique_ptr<AgentHub> a_, b_;
  std::unique_ptr<AgentConnection> connection_;
};

TEST_F(TwoHubs, ConsoleAndLogComeThroughTheControllerThatHasTheHost) {
  connect_to({b_address_});
  ASSERT_TRUE(connected(*b_));
  EXPECT_EQ(a_->console_log(kHost, ServerId(kServer), 1000), std::string(kServer) + " log");
  auto console = a_->open_console(kHost, ServerId(kServer), AgentHub::Console::serial);
  Watched watched;
  std::string got;
  bool closed = false;
  console->on_bytes([&](std::string_view bytes) {
    watched.change([&] {
      got += bytes;
      closed = closed || bytes.empty();
    });
  });
  EXPECT_TRUE(console->write("hello "));
  EXPECT_TRUE(console->write("world"));
  EXPECT_TRUE(watched.wait([&] { return got == "hello world"; }));
  console->write("bye");
  EXPECT_TRUE(watched.wait([&] { return closed; }));
  console.reset();
  // Dropped by the viewer, with the guest's end still open.
  console = a_->open_console(kHost, ServerId(kServer), AgentHub::Console::serial);
  console->on_bytes([](std::string_view) {});
  console.reset();
  try {
    a_->open_console(kHost, ServerId("other"), AgentHub::Console::vnc);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::conflict);
    EXPECT_NE(fault.message.find("the server is not running"), std::string::npos) << fault.message;
  }
}

TEST_F(TwoHubs, ATunnelGoesThroughBoth) {
  connect_to({b_address_});
  ASSERT_TRUE(connected(*b_));
  int far[2], near[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, far), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, near), 0);
  agent_.tunnel = [&](const std::string& channel) {
    EXPECT_EQ(channel, "disk");
    return far[0];
  };
  const HostId leaving("dddddddd-2222-4333-8444-555555555555");
  FakeAgent source;
  source.id = leaving;
  const auto request = make_certificate_request("host2");
  const Credentials proof{ca_.certificate, sign_client_certificate(ca_, request.request, "host2", "virga:host:" + leaving.str(), now_), request.key};
  auto connection = dial({{a_address_}, [proof] { return proof; }}, source);
  ASSERT_TRUE(source.watched.wait([&] { return !source.assignments.empty(); }));
  std::thread tunnel([&] { connection->tunnel(ServerId(kServer), "disk", near[1]); });
  ASSERT_EQ(::send(near[0], "ping", 4, 0), 4);
  ::shutdown(near[0], SHUT_WR);
  char buffer[16];
  ASSERT_EQ(::recv(far[1], buffer, sizeof buffer, 0), 4);
  ASSERT_EQ(::recv(far[1], buffer, sizeof buffer, 0), 0);
  ASSERT_EQ(::send(far[1], "pong", 4, 0), 4);
  ::close(far[1]);
  ASSERT_EQ(::recv(near[0], buffer, sizeof buffer, 0), 4);
  tunnel.join();
  ::close(near[0]);
  ::close(near[1]);
}

TEST_F(TwoHubs, OfAHostThatIsNowhereNobodyAsksInCircles) {
  EXPECT_THROW(a_->console_log(kHost, ServerId(kServer), 1000), Fault);
  b_.reset();
  try {
    a_->console_log(kHost, ServerId(kServer), 1000, 2s);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
  }
}

TEST_F(TwoHubs, AnUploadIsFetched) {
  std::string bytes;
  a_->fetch_upload(b_address_, "here", [&](std::string_view piece) { bytes += piece; });
  EXPECT_EQ(bytes, std::string(1 << 20, 'u'));
  EXPECT_THROW(a_->fetch_upload(b_address_, "elsewhere", [](std::string_view) {}), Fault);
}

TEST_F(TwoHubs, ADiskComesFromAHostOfTheOtherController) {
  connect_to({b_address_});
  ASSERT_TRUE(connected(*b_));
  agent_.disk = std::string(3'000'000, 'd');
  agent_.disk_size = agent_.disk.size();
  FakeAgent receiver;
  receiver.id = HostId("bbbbbbbb-2222-4333-8444-555555555555");
  const auto here = dial({{"unix:" + dir_ + "/a"}}, receiver);
  ASSERT_TRUE(receiver.watched.wait([&] { return !receiver.assignments.empty(); }));
  std::string got;
  here->fetch_disk(ServerId(kServer), 1, [&](std::string_view piece) { got += piece; });
  EXPECT_EQ(got, agent_.disk);
  b_.reset();
  try {
    here->fetch_disk(ServerId(kServer), 1, [](std::string_view) {});
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable) << "it is tried again";
  }
}

TEST_F(TwoHubs, AHostIsNoController) {
  Peers forged(host_proof());
  try {
    forged.fetch_upload(b_address_, "here", [](std::string_view) {});
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::forbidden);
  }
  EXPECT_THROW(forged.fetch_disk(b_address_, kHost, ServerId(kServer), 1, [](const auto&) { return true; }), Fault);
  EXPECT_THROW(forged.console_log(b_address_, kHost, ServerId(kServer), 100, 2s), Fault);
  EXPECT_THROW(forged.open_console(b_address_, kHost, ServerId(kServer), AgentHub::Console::vnc), Fault);
}

TEST_F(TwoHubs, AHostLearnsOfBothAndTurnsToTheOtherWhenItsOwnDies) {
  Watched watched;
  std::vector<std::string> learned;
  connect_to({b_address_}, [&](const std::vector<std::string>& all) { watched.change([&] { learned = all; }); });
  ASSERT_TRUE(watched.wait([&] { return learned.size() == 2; }));
  ASSERT_TRUE(connected(*b_));
  b_.reset();
  EXPECT_TRUE(connected(*a_));
}

TEST_F(TwoHubs, AHostThatIsConnectedHearsOfAControllerThatComes) {
  Watched watched;
  std::vector<std::string> learned;
  connect_to({a_address_}, [&](const std::vector<std::string>& all) { watched.change([&] { learned = all; }); });
  ASSERT_TRUE(watched.wait([&] { return learned.size() == 2; }));
  a_->tell_controllers();  // nothing new
  {
    const std::lock_guard lock(alive_mutex_);
    alive_.push_back("127.0.0.1:1");
  }
  a_->tell_controllers();
  EXPECT_TRUE(watched.wait([&] { return learned.size() == 3; }));
  EXPECT_TRUE(a_->connected(kHost));
}

}  // namespace
}  // namespace virga::link
