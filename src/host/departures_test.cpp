// Two agents with fake hypervisors, and a server that goes from the one to the other while it runs: over the real link.

#include "host/departures.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "host/api.h"
#include "host/fake_hypervisor.h"
#include "tests/support/link_fakes.h"

namespace virga::host {
namespace {

using namespace std::chrono_literals;
using State = link::DesiredServer::State;
using link::Power;

const ServerId kA("aaaaaaaa-0000-4000-8000-000000000001");
const HostId kFrom("cccccccc-0000-4000-8000-000000000003"), kTo("dddddddd-0000-4000-8000-000000000004");

/// Each host has this server and nothing else.
class TwoHosts final : public link::Controller {
 public:
  struct Host {
    link::DesiredServer desired;
    link::ObservedServer seen;
    std::vector<MigrationProgress> progress;
  };
  void admit(const link::HostFacts&, const std::string&) override {}
  std::string renew(const HostId&, const std::string&) override { return ""; }
  link::Assignment connect(const link::HostFacts& facts) override {
    std::lock_guard lock(mutex_);
    return {1, true, {hosts_[facts.id].desired}};
  }
  void heartbeat(const HostId&, const std::vector<std::string>&) override {}
  void observe(const HostId& host, bool, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>& actions) override {
    std::lock_guard lock(mutex_);
    for (const auto& s : servers) {
      if (s.id != kA) continue;
      hosts_[host].seen = s;
      if (s.migration) hosts_[host].progress.push_back(*s.migration);
    }
    if (host == kFrom && !actions.empty()) report_ = actions.back();
    changed_.notify_all();
  }
  void disconnected(const HostId&) override {}
  std::unique_ptr<link::ByteSource> open_image(const HostId&, const ImageId&, uint64_t) override { throw Fault(FaultKind::not_found, "no image"); }
  link::MetadataReply metadata(const HostId&, const link::MetadataRequest&) override { return {}; }
  HostId disk_source(const HostId& host, const ServerId&, int64_t) override { return host; }
  HostId tunnel_end(const HostId& from, const ServerId& server) override {
    return from == kFrom && server == kA ? kTo : link::Controller::tunnel_end(from, server);
  }

  link::Assignment want(const HostId& host, State state, int64_t generation, const char* action = "") {
    std::lock_guard lock(mutex_);
    auto& d = hosts_[host].desired;
    d.id = kA;
    d.state = state;
    d.generation = d.fence = generation;
    d.instance_name = "instance-1";
    d.image = link::ImageRef{ImageId(kA.str()), "qcow2", 1, ""};
    d.actions.clear();
    if (*action) d.actions.push_back({OperationId("op"), 1, action});
    return {1, false, {d}};
  }
  bool wait(const HostId& host, Power power, int64_t generation) {
    return wait([&] { return hosts_[host].seen.power == power && hosts_[host].seen.generation == generation; });
  }
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, 20s, condition);
  }
  std::optional<link::ActionReport> wait_report() {
    wait([&] { return report_.has_value(); });
    std::lock_guard lock(mutex_);
    return std::exchange(report_, std::nullopt);
  }
  std::map<HostId, Host> hosts_;

 private:
  std::optional<link::ActionReport> report_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Shut at first.
class Gate {
 public:
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  /// False if it stays shut.
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

class DeparturesTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-leave-XXXXXX";
    dir_ = mkdtemp(name);
    hub_ = link::serve({dir_ + "/agent.sock"}, controller_);
    controller_.want(kFrom, State::running, 1);
    controller_.want(kTo, State::absent, 1);
    from_ = start(kFrom, source_, source_files_);
    to_ = start(kTo, target_, target_files_);
    ASSERT_TRUE(controller_.wait(kFrom, Power::running, 1));
    ASSERT_TRUE(controller_.wait(kTo, Power::absent, 1));
  }
  void TearDown() override {
    go_.open();  // whatever was expected has come, or never will
    from_.reset();
    to_.reset();
    hub_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<Agent> start(const HostId& id, Hypervisor& hypervisor, Storage& storage) {
    AgentOptions options;
    options.state_dir = dir_ + "/" + id.str().substr(0, 4);
    options.link_targets = {"unix:" + dir_ + "/agent.sock"};
    options.hostname = id.str().substr(0, 4);
    options.host_id = id;
    options.retry_min = 5ms;
    options.departure_limit = limit_;
    return std::make_unique<Agent>(options, hypervisor, storage, clock_);
  }
  void prepare() {
    ASSERT_TRUE(hub_->push(kTo, controller_.want(kTo, State::incoming, 2)));
    ASSERT_TRUE(controller_.wait(kTo, Power::absent, 2));
    EXPECT_EQ(target_.count("define"), 0);
  }
  void wish(const char* action) { hub_->push(kFrom, controller_.want(kFrom, State::running, 1, action)); }
  /// The migration begins (begun_) and goes no further until the hypervisor is called that, or go_ is opened.
  void hold_migration(const std::string& until) {
    source_.inject([this, until](const std::string& call, const ServerId&) {
      if (call == "migrate") begun_.open(), go_.wait();
      if (call == until) go_.open();
    });
  }
  bool no_sockets_left() const {
    for (const auto* agent : {"cccc", "dddd"})
      if (!std::filesystem::is_empty(fmt::format("{}/{}/migrate", dir_, agent))) return false;
    return true;
  }

  std::string dir_;
  SystemClock clock_;
  TwoHosts controller_;
  FakeHypervisor source_, target_;
  FakeStorage source_files_{source_}, target_files_{target_};
  std::unique_ptr<link::AgentHub> hub_;
  std::unique_ptr<Agent> from_, to_;
  std::chrono::milliseconds limit_ = AgentOptions().departure_limit;
  Gate begun_, go_;
};

TEST_F(DeparturesTest, AServerGoesAsItRuns) {
  prepare();
  wish("migrate_live");
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok) << report->message;
  ASSERT_TRUE(controller_.wait(kTo, Power::running, 2));
  EXPECT_EQ(target_.count("start"), 0) << "it came running";
  ASSERT_TRUE(controller_.wait(kFrom, Power::shutoff, 1));
  EXPECT_EQ(source_.count("destroy"), 0);
  hub_->push(kTo, controller_.want(kTo, State::running, 3));
  hub_->push(kFrom, controller_.want(kFrom, State::absent, 3));
  ASSERT_TRUE(controller_.wait(kTo, Power::running, 3));
  ASSERT_TRUE(controller_.wait(kFrom, Power::absent, 3));
  EXPECT_EQ(target_.find(kA).generation, 3) << "it has a definition of its own now";
  EXPECT_EQ(target_.count("start"), 0);
  EXPECT_TRUE(no_sockets_left());
}

TEST_F(DeparturesTest, ItTellsHowFarItIsAndEndsWhenItIsToldTo) {
  prepare();
  hold_migration("cancel_migration");
  wish("migrate_live");
  ASSERT_TRUE(controller_.wait([&] { return !controller_.hosts_[kFrom].progress.empty(); }));
  EXPECT_EQ(controller_.hosts_[kFrom].progress[0].disk.remaining, 1500u);
  wish("migrate_live_force");
  ASSERT_TRUE(controller_.wait([&] { return source_.count("hurry_migration") > 0; }));
  wish("migrate_live_abort");
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
  EXPECT_EQ(report->message, "It was aborted.");
  EXPECT_EQ(source_.find(kA).power, DomainPower::running);
  hub_->push(kTo, controller_.want(kTo, State::absent, 3));
  ASSERT_TRUE(controller_.wait(kTo, Power::absent, 3));
  EXPECT_EQ(target_.find(kA).power, DomainPower::absent);
  EXPECT_TRUE(no_sockets_left());
}

TEST_F(DeparturesTest, OneThatDoesNotEndInTimeStays) {
  from_.reset();
  limit_ = 1ms;
  from_ = start(kFrom, source_, source_files_);
  prepare();
  hold_migration("cancel_migration");
  wish("migrate_live");
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
  EXPECT_NE(report->message.find("did not end within"), std::string::npos) << report->message;
  EXPECT_EQ(source_.find(kA).power, DomainPower::running);
}

TEST_F(DeparturesTest, WhoeverIsNotReadyGetsNothing) {
  wish("migrate_live");
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
  EXPECT_NE(report->message.find("not coming to this host"), std::string::npos) << report->message;
  EXPECT_EQ(source_.find(kA).power, DomainPower::running);
}

TEST_F(DeparturesTest, AnAgentThatIsStartedAgainDoesNotSendItTwice) {
  prepare();
  source_.inject([&](const std::string& call, const ServerId&) {
    if (call == "migrate") begun_.open(), throw Fault(FaultKind::unavailable, "libvirtd is away");
  });
  wish("migrate_live");
  ASSERT_TRUE(begun_.wait());
  from_.reset();
  EXPECT_EQ(source_.find(kA).power, DomainPower::running) << "what was under way is broken off";
  source_.inject({});
  from_ = start(kFrom, source_, source_files_);
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
  EXPECT_EQ(source_.count("migrate"), 1);
}

TEST_F(DeparturesTest, OneThatHadLeftIsKnownToHaveLeft) {
  prepare();
  wish("migrate_live");
  ASSERT_TRUE(controller_.wait_report());
  ASSERT_TRUE(controller_.wait(kFrom, Power::shutoff, 1));
  from_.reset();
  // As if the agent had ended before it could write that down.
  std::ofstream(dir_ + "/cccc/journal", std::ios::app) << "done op 1 0 The agent of its host was started again meanwhile.\n";
  from_ = start(kFrom, source_, source_files_);
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->ok) << report->message;
  EXPECT_EQ(source_.count("start"), 1) << "it is not started here again";
}

TEST_F(DeparturesTest, DeletedOnTheWayItIsGoneOnBoth) {
  prepare();
  hold_migration("destroy");
  wish("migrate_live");
  ASSERT_TRUE(begun_.wait());
  hub_->push(kFrom, controller_.want(kFrom, State::absent, 4));
  hub_->push(kTo, controller_.want(kTo, State::absent, 4));
  ASSERT_TRUE(controller_.wait(kTo, Power::absent, 4));
  ASSERT_TRUE(controller_.wait(kFrom, Power::absent, 4));
  EXPECT_EQ(target_.find(kA).power, DomainPower::absent);
}

TEST_F(DeparturesTest, ALostDestinationEndsIt) {
  prepare();
  hold_migration("");
  wish("migrate_live");
  ASSERT_TRUE(begun_.wait());
  to_.reset();
  go_.open();
  const auto report = controller_.wait_report();
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->ok);
  EXPECT_EQ(source_.find(kA).power, DomainPower::running);
}

}  // namespace
}  // namespace virga::host
