#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <set>
#include <thread>

#include "base/scope_exit.h"
#include "link/api.h"
#include "link/outbox.h"
#include "link/pool.h"
#include "tests/support/link_fakes.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;

class Link : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-link-XXXXXX";
    dir_ = mkdtemp(name);
    hub_ = serve({dir_ + "/agent.sock"}, controller_);
  }
  void TearDown() override {
    connection_.reset();
    hub_.reset();
    std::system(("rm -rf " + dir_).c_str());
  }
  void connect() {
    connection_ = dial({{"unix:" + dir_ + "/agent.sock"}}, agent_);
    ASSERT_TRUE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }));
  }
  bool ready() {
    // `connected` turns true right after the assignment is queued.
    for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end;)
      if (hub_->connected(kHost))
        return true;
      else
        std::this_thread::yield();
    return false;
  }

  std::string dir_;
  FakeController controller_;
  FakeAgent agent_;
  std::unique_ptr<AgentHub> hub_;
  std::unique_ptr<AgentConnection> connection_;
};

DesiredServer server(const std::string& id, int64_t generation) {
  DesiredServer s;
  s.id = ServerId(id);
  s.generation = generation;
  s.name = "caf\xe9";  // not UTF-8: must not break the link
  s.image = ImageRef{ImageId(kServer), "qcow2", 5, "abc"};
  s.nics.push_back(
      {PortId("p"), NetworkId("n"), "fa:16:3e:00:00:01", 1400, PortId("mp"), "mm", "10.0.0.2/24"});
  s.config_drive_files = {{"openstack/latest/user_data", std::string("\0\xff", 2)}};
  s.actions = {{OperationId("op"), 3, "reboot_hard"}};
  return s;
}

TEST_F(Link, CarriesFactsAssignmentAndChanges) {
  controller_.watched.change([&] { controller_.next = {9, false, {server(kServer, 4)}}; });
  connect();
  const HostFacts facts = controller_.watched.copy(controller_.facts);
  EXPECT_EQ(facts.hostname, "host1");
  EXPECT_EQ(facts.seen_epoch, 7);
  const Assignment full = agent_.watched.copy(agent_.assignments).at(0);
  EXPECT_TRUE(full.full);
  EXPECT_EQ(full.epoch, 9);
  ASSERT_EQ(full.servers.size(), 1u);
  EXPECT_EQ(full.servers[0].name, "caf\xe9");
  EXPECT_EQ(full.servers[0].image->format, "qcow2");
  EXPECT_FALSE(full.servers[0].kernel);
  EXPECT_EQ(full.servers[0].nics[0].metadata_cidr, "10.0.0.2/24");
  EXPECT_EQ(full.servers[0].config_drive_files[0].content.size(), 2u);
  EXPECT_EQ(full.servers[0].actions[0].kind, "reboot_hard");
  ASSERT_TRUE(ready());
  Assignment change{9, false, {server(kServer, 5)}, {{OperationId("ahead"), 6, *server(kServer, 5).image}}};
  EXPECT_TRUE(hub_->push(kHost, change));
  ASSERT_TRUE(agent_.watched.wait([&] { return agent_.assignments.size() == 2; }));
  EXPECT_FALSE(agent_.assignments[1].full);
  EXPECT_EQ(agent_.assignments[1].servers[0].generation, 5);
  ASSERT_EQ(agent_.assignments[1].prefetches.size(), 1u);
  const Prefetch& ahead = agent_.assignments[1].prefetches[0];
  EXPECT_EQ(ahead.operation.str() + " " + std::to_string(ahead.fence) + " " + ahead.image.sha512, "ahead 6 abc");
  EXPECT_FALSE(hub_->push(HostId("other"), change));
}

TEST_F(Link, CutsALargeAssignmentIntoMessages) {
  auto big = server(kServer, 1);
  big.config_drive_files[0].content = std::string(60'000, 'x');
  controller_.watched.change([&] { controller_.next.servers.assign(1000, big); });  // 60 MB, above one message's bound
  connect();
  ASSERT_EQ(agent_.assignments.size(), 1u);
  EXPECT_EQ(agent_.assignments[0].servers.size(), 1000u);
}

TEST_F(Link, ReportsObservationsAndActions) {
  connect();
  ObservedServer o;
  o.id = ServerId(kServer);
  o.power = Power::running;
  o.generation = 4;
  o.steps = {{"start", false, "no\xff", 1, 2}};
  connection_->report(false, {o}, {{OperationId("op"), 3, false, "why"}});
  ASSERT_TRUE(
      controller_.watched.wait([&] { return !controller_.seen.empty() && !controller_.actions.empty(); }));
  EXPECT_EQ(controller_.seen[0].power, Power::running);
  EXPECT_EQ(controller_.seen[0].steps[0].message, "no\xff");
  EXPECT_EQ(controller_.actions[0].message, "why");
}

TEST_F(Link, TellsProblemsAtOnceAndToEachController) {
  connect();
  connection_->problems({"libvirt does not answer", "two\nlines"});
  ASSERT_TRUE(controller_.watched.wait([&] { return controller_.problems.size() == 2; }));
  EXPECT_EQ(controller_.problems[1], "two lines");
  hub_.reset();
  controller_.watched.change([&] { controller_.problems.clear(); });
  hub_ = serve({dir_ + "/agent.sock"}, controller_);
  ASSERT_TRUE(controller_.watched.wait([&] { return controller_.problems.size() == 2; }));
  connection_->problems({});
  ASSERT_TRUE(controller_.watched.wait([&] { return controller_.problems.empty(); }));
}

TEST_F(Link, SurvivesAControllerRestart) {
  connect();
  ASSERT_TRUE(ready());
  hub_.reset();
  EXPECT_GE(controller_.disconnects, 1);
  ObservedServer o;
  o.id = ServerId(kServer);
  o.generation = 1;
  connection_->report(false, {o}, {{OperationId("a"), 1, true, ""}});
  o.generation = 2;
  connection_->report(false, {o}, {{OperationId("b"), 2, true, ""}});
  hub_ = serve({dir_ + "/agent.sock"}, controller_);
  ASSERT_TRUE(agent_.watched.wait([&] { return agent_.assignments.size() >= 2; }));
  ASSERT_TRUE(
      controller_.watched.wait([&] { return controller_.actions.size() == 2 && !controller_.seen.empty(); }));
  EXPECT_EQ(controller_.seen.back().generation, 2);
}

TEST_F(Link, RefusedHostTriesAgain) {
  controller_.refuse = Fault(FaultKind::forbidden, "unknown host");
  connection_ = dial({{"unix:" + dir_ + "/agent.sock"}}, agent_);
  ASSERT_TRUE(controller_.watched.wait([&] { return controller_.connects >= 3; }));
  EXPECT_FALSE(hub_->connected(kHost));
  EXPECT_TRUE(agent_.assignments.empty());
  EXPECT_THROW(connection_->metadata({}), Fault);
}

TEST_F(Link, ConnectsOnceTheFactsAreThere) {
  agent_.not_yet = 2;
  connect();
  EXPECT_EQ(controller_.connects, 1);
}

TEST_F(Link, FetchesImages) {
  controller_.image = std::string(3'000'000, 'i') + "end";
  connect();
  std::string got;
  const auto sink = [&](uint64_t at, std::string_view bytes) {
    EXPECT_EQ(at, got.size());
    got += bytes;
  };
  connection_->fetch_image(ImageId("x"), 0, sink);
  EXPECT_EQ(got, controller_.image);
  got.resize(1'500'000);
  connection_->fetch_image(ImageId("x"), got.size(), sink);
  EXPECT_EQ(got, controller_.image);
  connection_->fetch_image(ImageId("x"), got.size(), sink);
  EXPECT_EQ(got, controller_.image);
  try {
    connection_->fetch_image(ImageId("missing"), 0, [](uint64_t, std::string_view) {});
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::not_found);
  }
  EXPECT_THROW(connection_->fetch_image(
                   ImageId("x"), 0, [](uint64_t, std::string_view) { throw Fault(FaultKind::internal, "disk full"); }),
               Fault);
}

TEST_F(Link, ADiskComesWholeOrNotAtAll) {
  agent_.disk = std::string(3'000'000, 'd') + "end";
  agent_.disk_size = agent_.disk.size();
  connect();
  std::string got;
  const auto sink = [&](std::string_view bytes) { got += bytes; };
  const auto cause = [&](int64_t disk) {
    try {
      connection_->fetch_disk(ServerId(kServer), disk, sink);
    } catch (const Fault& fault) {
      return fault.message;
    }
    return std::string("it came");
  };
  EXPECT_EQ(cause(1), "it came");
  EXPECT_EQ(got, agent_.disk);
  EXPECT_NE(cause(0).find("the server is not moving"), std::string::npos);
  agent_.disk_size += 1;
  EXPECT_NE(cause(1).find("did not come whole: 3000003 of 3000004 bytes"), std::string::npos);
  agent_.disk_size -= 2;
  EXPECT_NE(cause(1).find("more of the disk came"), std::string::npos);
  agent_.disk.clear();
  EXPECT_EQ(cause(1), "the server runs");
  EXPECT_THROW(connection_->fetch_disk(ServerId(kServer), 1, [](std::string_view) { throw Fault(FaultKind::internal, "disk full"); }),
               Fault);
}

TEST_F(Link, AsksForMetadata) {
  connect();
  const auto reply = connection_->metadata({NetworkId("n"), "10.0.0.5", "GET", "/openstack", ""});
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "10.0.0.5/openstack");
}

TEST_F(Link, ConsolesEchoAndClose) {
  connect();
  ASSERT_TRUE(ready());
  auto console = hub_->open_console(kHost, ServerId(kServer), AgentHub::Console::serial);
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
  EXPECT_FALSE(console->write("x"));
  try {
    hub_->open_console(kHost, ServerId("other"), AgentHub::Console::vnc);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::conflict);
    EXPECT_EQ(fault.hint, "Start it.");
  }
  EXPECT_THROW(hub_->open_console(HostId("other"), ServerId(kServer), AgentHub::Console::vnc), Fault);
}

TEST_F(Link, ConsoleLogHasADeadline) {
  connect();
  ASSERT_TRUE(ready());
  EXPECT_EQ(hub_->console_log(kHost, ServerId(kServer), 1000), kServer + " log");
  agent_.hang = true;
  try {
    hub_->console_log(kHost, ServerId(kServer), 10, 50ms);
    FAIL();
  } catch (const Fault& fault) {
    EXPECT_EQ(fault.kind, FaultKind::unavailable);
  }
  agent_.watched.change([&] { agent_.hang = false; });
}

TEST_F(Link, ANewerConnectionOfAHostTakesOver) {
  connect();
  FakeAgent twin;
  auto second = dial({{"unix:" + dir_ + "/agent.sock"}}, twin);
  ASSERT_TRUE(twin.watched.wait([&] { return !twin.assignments.empty(); }));
  EXPECT_GE(controller_.connects, 2);
}

TEST(Pool, BeginsThreadsAsTheyAreNeededAndEndsWithItsWork) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::atomic<int> waiting{0}, done{0};
  Pool pool(2);
  const auto job = [&] {
    {
      std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
    }
    ++waiting;
    while (waiting < 2) std::this_thread::yield();  // for the other one, which needs a thread of its own
    ++done;
  };
  for (int i = 0; i < 8; ++i) pool.post(job);
  pool.stop();
  EXPECT_EQ(done, 8);
  EXPECT_EQ(threads.size(), 2u);
  pool.post(job);
  EXPECT_EQ(done, 8);
  Pool(4).stop();  // of which nobody asked anything
}

TEST(Outbox, KeepsTheNewestOfEachServerAndAllActions) {
  Outbox outbox;
  ObservedServer a;
  a.id = ServerId("a");
  a.generation = 1;
  a.steps = {{"define"}};
  outbox.add(false, {a}, {{OperationId("1"), 0, true, ""}});
  a.generation = 2;
  a.steps = {{"start"}};
  outbox.add(false, {a}, {{OperationId("2"), 0, true, ""}});
  auto batch = outbox.take();
  ASSERT_EQ(batch.servers.size(), 1u);
  EXPECT_EQ(batch.servers[0].generation, 2);
  EXPECT_EQ(batch.servers[0].steps.size(), 2u);
  EXPECT_EQ(batch.actions.size(), 2u);
  EXPECT_TRUE(outbox.empty());
  outbox.put_back(std::move(batch));
  outbox.add(true, {}, {});
  batch = outbox.take();
  EXPECT_TRUE(batch.full);
  EXPECT_EQ(batch.servers.size(), 1u);
  EXPECT_EQ(batch.actions.size(), 2u);
}

TEST(Outbox, AFullReportDoesNotTakeAwayThatAServerIsGone) {
  Outbox outbox;
  ObservedServer gone, other;
  gone.id = ServerId("gone");
  gone.power = Power::absent;
  gone.generation = 2;
  other.id = ServerId("other");
  outbox.add(false, {gone}, {});
  outbox.add(true, {other}, {});  // the agent has forgotten the removed server already
  const auto batch = outbox.take();
  EXPECT_TRUE(batch.full);
  ASSERT_EQ(batch.servers.size(), 2u);
  EXPECT_EQ(batch.servers[0].generation, 2);
}

}  // namespace
}  // namespace virga::link
