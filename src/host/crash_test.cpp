// The agent as a process of its own, killed at each of its kill points and started again: it converges, does
// nothing twice that may not be done twice, and leaves nothing over.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>

#include "base/process.h"
#include "host/api.h"
#include "host/fake_hypervisor.h"

namespace virga::host {
namespace {

using State = link::DesiredServer::State;
const ServerId kA("aaaaaaaa-0000-4000-8000-000000000001");
const HostId kHost("cccccccc-0000-4000-8000-000000000003");

class OneServer final : public link::Controller {
 public:
  void admit(const link::HostFacts&, const std::string&) override {}
  std::string renew(const HostId&, const std::string&) override { return ""; }
  link::Assignment connect(const link::HostFacts&) override {
    std::lock_guard lock(mutex_);
    return {1, true, {desired_}};
  }
  void heartbeat(const HostId&, const std::vector<std::string>&) override {}
  void observe(const HostId&, bool, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>&) override {
    std::lock_guard lock(mutex_);
    for (const auto& s : servers)
      if (s.id == kA) seen_ = s;
    changed_.notify_all();
  }
  void disconnected(const HostId&) override {}
  std::unique_ptr<link::ByteSource> open_image(const HostId&, const ImageId&, uint64_t) override {
    throw Fault(FaultKind::not_found, "no image");
  }
  link::MetadataReply metadata(const HostId&, const link::MetadataRequest&) override { return {}; }
  HostId disk_source(const HostId& host, const ServerId&, int64_t) override { return host; }

  link::Assignment want(State state, int64_t generation) {
    std::lock_guard lock(mutex_);
    desired_.id = kA;
    desired_.state = state;
    desired_.generation = desired_.fence = generation;
    desired_.instance_name = "instance-1";
    desired_.image = link::ImageRef{ImageId(kA.str()), "qcow2", 1, ""};
    desired_.config_drive = true;
    return {1, false, {desired_}};
  }
  bool wait(link::Power power, int64_t generation) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return seen_.power == power && seen_.generation == generation; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  link::DesiredServer desired_;
  link::ObservedServer seen_;
};

/// Not a test: the agent's process, when the parent test starts this program anew.
TEST(AgentProcess, Child) {
  const char* dir = std::getenv("VIRGA_TEST_AGENT_DIR");
  if (!dir) GTEST_SKIP() << "started by the crash tests only";
  AgentOptions options;
  options.state_dir = std::string(dir) + "/state";
  options.link_targets = {"unix:" + std::string(dir) + "/agent.sock"};
  options.hostname = "host1";
  options.host_id = kHost;
  auto fake = make_fake_host(std::string(dir) + "/domains");
  ::_exit(run_agent(options, *fake.hypervisor, *fake.storage));
}

class Crash : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-crash-XXXXXX";
    dir_ = mkdtemp(name);
    controller_.want(State::running, 1);
    hub_ = link::serve({dir_ + "/agent.sock"}, controller_);
  }
  void TearDown() override {
    if (agent_) ::kill(agent_, SIGKILL), ::waitpid(agent_, nullptr, 0);
    hub_.reset();
    std::filesystem::remove_all(dir_);
  }
  void start_agent(const std::string& kill_point) {
    Command command;
    command.argv = {std::filesystem::read_symlink("/proc/self/exe"), "--gtest_filter=AgentProcess.Child"};
    command.environment = {"VIRGA_TEST_AGENT_DIR=" + dir_, "VIRGA_KILL_POINT=" + kill_point};
    agent_ = spawn(command, dir_ + "/agent.log");
  }
  int wait_death() {
    int status = 0;
    ::waitpid(agent_, &status, 0);
    agent_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  size_t domains() { return FakeHypervisor(dir_ + "/domains").list().size(); }

  std::string dir_;
  OneServer controller_;
  std::unique_ptr<link::AgentHub> hub_;
  pid_t agent_ = 0;
};

class CrashInCreate : public Crash {};
class CrashInDelete : public Crash {};

TEST_P(CrashInCreate, ConvergesToRunning) {
  start_agent(GetParam());
  ASSERT_EQ(wait_death(), 137) << read_file(dir_ + "/agent.log");
  start_agent("");
  EXPECT_TRUE(controller_.wait(link::Power::running, 1)) << read_file(dir_ + "/agent.log");
  EXPECT_EQ(domains(), 1u);
}

TEST_P(CrashInDelete, ConvergesToNothing) {
  start_agent("");
  ASSERT_TRUE(controller_.wait(link::Power::running, 1));
  ::kill(agent_, SIGKILL);
  wait_death();
  controller_.want(State::absent, 2);
  start_agent(GetParam());
  ASSERT_EQ(wait_death(), 137) << read_file(dir_ + "/agent.log");
  start_agent("");
  EXPECT_TRUE(controller_.wait(link::Power::absent, 2)) << read_file(dir_ + "/agent.log");
  EXPECT_EQ(domains(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Points, CrashInCreate,
                         testing::Values("agent.after_image", "agent.after_disk", "agent.after_config_drive",
                                         "agent.after_define", "agent.after_start", "agent.before_report"));
INSTANTIATE_TEST_SUITE_P(Points, CrashInDelete,
                         testing::Values("agent.after_destroy", "agent.after_undefine",
                                         "agent.after_disk_removed", "agent.before_report"));

}  // namespace
}  // namespace virga::host
