// Tunnels between the hosts of one controller: what goes in comes out, whole, in both directions, however it ends.

#include "link/tunnel.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>

#include "base/unix_socket.h"
#include "tests/support/link_fakes.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;
const HostId kOther("bbbbbbbb-2222-4333-8444-555555555555");

struct Pair {
  Pair() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0); }
  int ends[2];
};

std::string read_to_end(int socket) {
  std::string all;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, static_cast<size_t>(n));
  return all;
}

class Tunnels : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-tunnel-XXXXXX";
    dir_ = mkdtemp(name);
    controller_.tunnels_to = kOther;
    hub_ = serve({dir_ + "/agent.sock"}, controller_);
    far_agent_.id = kOther;
    near_ = connect(near_agent_);
    far_ = connect(far_agent_);
  }
  void TearDown() override {
    near_.reset();
    far_.reset();
    hub_.reset();
    for (auto& thread : threads_) thread.join();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<AgentConnection> connect(FakeAgent& agent) {
    auto connection = dial({{"unix:" + dir_ + "/agent.sock"}}, agent);
    EXPECT_TRUE(agent.watched.wait([&] { return !agent.assignments.empty(); }));
    return connection;
  }
  /// The far host does this with its end.
  void answer(std::function<void(int socket)> with) {
    const auto open = [this, with](const std::string&) {
      Pair pair;
      threads_.emplace_back([with, socket = pair.ends[1]] {
        with(socket);
        ::close(socket);
      });
      far_agent_.watched.change([&] { answered_ = true; });
      return pair.ends[0];
    };
    far_agent_.watched.change([&] { far_agent_.tunnel = open; });
  }

  void wait_answered() {
    EXPECT_TRUE(far_agent_.watched.wait([&] { return answered_; }));
  }

  bool answered_ = false;
  std::string dir_;
  FakeController controller_;
  FakeAgent near_agent_, far_agent_;
  std::unique_ptr<AgentHub> hub_;
  std::unique_ptr<AgentConnection> near_, far_;
  std::vector<std::thread> threads_;
};

TEST_F(Tunnels, BothDirectionsComeWholeAndEndByThemselves) {
  std::string question(3 << 20, 'q'), answer_text(5 << 20, 'a');
  question[77] = '\0';
  std::string heard;
  answer([&](int socket) {
    heard = read_to_end(socket);
    EXPECT_TRUE(send_all(socket, answer_text.data(), answer_text.size())) << "after the other direction ended";
  });
  Pair pair;
  std::thread tunnel([&] { near_->tunnel(ServerId(kServer), "memory", pair.ends[1]); });
  EXPECT_TRUE(send_all(pair.ends[0], question.data(), question.size()));
  ::shutdown(pair.ends[0], SHUT_WR);
  const std::string got = read_to_end(pair.ends[0]);
  tunnel.join();
  EXPECT_TRUE(heard == question);
  EXPECT_TRUE(got == answer_text);
  ::close(pair.ends[0]);
  ::close(pair.ends[1]);
}

TEST_F(Tunnels, WhoIsNotThereIsSaid) {
  Pair pair;
  try {
    near_->tunnel(ServerId(kServer), "memory", pair.ends[1]);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_NE(fault.message.find("the server is not coming here"), std::string::npos) << fault.message;
  }
  EXPECT_EQ(read_to_end(pair.ends[0]), "") << "the near end is told, too";
  try {
    near_->tunnel(ServerId("11111111-0000-4333-8444-555555555555"), "memory", pair.ends[1]);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::forbidden);
  }
  ::close(pair.ends[0]);
  ::close(pair.ends[1]);
}

TEST_F(Tunnels, ABrokenOneEndsOnBothSides) {
  std::promise<void> ended;
  answer([&](int socket) {
    read_to_end(socket);
    ended.set_value();
  });
  Pair pair;
  std::thread tunnel([&] { EXPECT_THROW(near_->tunnel(ServerId(kServer), "memory", pair.ends[1]), Fault); });
  EXPECT_TRUE(send_all(pair.ends[0], "x", 1));
  wait_answered();
  far_.reset();  // the host it goes to is lost
  EXPECT_EQ(read_to_end(pair.ends[0]), "");
  tunnel.join();
  EXPECT_EQ(ended.get_future().wait_for(10s), std::future_status::ready);
  ::close(pair.ends[0]);
  ::close(pair.ends[1]);
}

TEST_F(Tunnels, AControllerThatStopsEndsThem) {
  answer([](int socket) { read_to_end(socket); });
  Pair pair;
  std::thread tunnel([&] { EXPECT_THROW(near_->tunnel(ServerId(kServer), "memory", pair.ends[1]), Fault); });
  wait_answered();
  hub_.reset();
  tunnel.join();
  ::close(pair.ends[0]);
  ::close(pair.ends[1]);
}

}  // namespace
}  // namespace virga::link
