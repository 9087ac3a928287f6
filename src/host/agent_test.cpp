// The agent with the fake hypervisor, against a scripted controller over the real link.
#include <gtest/gtest.h>

#include <condition_variable>
#include <atomic>
#include <cstdlib>
#include <future>
#include <iostream>
#include <set>
#include <thread>

#include "base/crypto.h"
#include "base/certificate.h"
#include "base/process.h"
#include "host/api.h"
#include "host/fake_hypervisor.h"
#include "tests/support/link_fakes.h"
#include "qemu/api.h"

namespace virga::host {
namespace {

using namespace std::chrono_literals;
using State = link::DesiredServer::State;
using link::Power;

const ServerId kA("aaaaaaaa-0000-4000-8000-000000000001");
const ServerId kB("bbbbbbbb-0000-4000-8000-000000000002");
const HostId kHost("cccccccc-0000-4000-8000-000000000003");

class ScriptedController final : public link::Controller {
 public:
  link::Assignment full;  ///< what connect answers
  std::map<ServerId, link::ObservedServer> seen;
  std::map<OperationId, link::ActionReport> actions;
  std::vector<link::StepReport> steps;
  int fulls = 0;
  std::set<ServerId> last_full;

  void admit(const link::HostFacts&, const std::string&) override {}
  std::function<std::string(const std::string&)> sign;  ///< answers a request for a certificate
  std::string renew(const HostId&, const std::string& request) override { return sign(request); }
  link::Assignment connect(const link::HostFacts&) override {
    std::lock_guard lock(mutex_);
    return full;
  }
  void heartbeat(const HostId&, const std::vector<std::string>&) override {}
  void observe(const HostId&, bool is_full, const std::vector<link::ObservedServer>& servers,
               const std::vector<link::ActionReport>& reports) override {
    std::lock_guard lock(mutex_);
    if (is_full) ++fulls, last_full.clear();
    for (const auto& s : servers) {
      seen[s.id] = s;
      if (is_full) last_full.insert(s.id);
      steps.insert(steps.end(), s.steps.begin(), s.steps.end());
    }
    for (const auto& r : reports) actions[r.operation] = r;
    changed_.notify_all();
  }
  void disconnected(const HostId&) override {}
  std::string image;  ///< the bytes of every image
  std::atomic<int> refusals{0};  ///< so many of the next requests for one
  std::unique_ptr<link::ByteSource> open_image(const HostId&, const ImageId&, uint64_t from) override {
    if (refusals > 0 && refusals-- > 0) throw Fault(FaultKind::unavailable, "not now");
    return std::make_unique<link::StringSource>(image.substr(from));
  }
  link::MetadataReply metadata(const HostId&, const link::MetadataRequest&) override { return {}; }
  HostId disk_from;  ///< which host has the disks that are asked for
  HostId disk_source(const HostId&, const ServerId&, int64_t) override { return disk_from; }

  bool wait(const std::function<bool()>& condition, std::chrono::milliseconds timeout = 10s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, condition);
  }
  bool wait_power(const ServerId& id, Power power, int64_t generation) {
    return wait([&] { return seen[id].power == power && seen[id].generation == generation; });
  }
  std::string step_names() {
    std::lock_guard lock(mutex_);
    std::string out;
    for (const auto& s : steps) out += (out.empty() ? "" : " ") + s.step;
    steps.clear();
    return out;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Certificate and key belong together, and the CA signed it.
void check_client(const link::Credentials& c, const PemPair& ca) {
  const auto certificate = read_certificates(c.certificate, "it").front();
  EXPECT_TRUE(signed_by(certificate, read_certificates(ca.certificate, "ca").front()));
  EXPECT_EQ(X509_check_private_key(certificate.get(), read_private_key(c.key, "its key").get()), 1);
  EXPECT_EQ(common_name(certificate), "host1");
}

class AgentTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-agent-XXXXXX";
    dir_ = mkdtemp(name);
    options_.state_dir = dir_ + "/state";
    options_.link_targets = {"unix:" + dir_ + "/agent.sock"};
    options_.hostname = "host1";
    options_.host_id = kHost;
    options_.retry_min = 5ms;
    options_.shutdown_timeout = 50ms;
    options_.shutdown_repeat = 10ms;
    controller_.full.epoch = 1;
    hub_ = link::serve({dir_ + "/agent.sock"}, controller_);
  }
  void TearDown() override {
    fake_.inject({});
    agent_.reset();
    hub_.reset();
    std::system(("rm -rf " + dir_).c_str());
  }
  void start_agent() {
    Storage& storage = local_ ? *local_ : static_cast<Storage&>(storage_);
    agent_ = std::make_unique<Agent>(options_, fake_, storage, clock_);
  }
  void start() {
    start_agent();
    ASSERT_TRUE(controller_.wait([&] { return controller_.fulls > 0; }));
  }
  void want(link::DesiredServer server, int64_t epoch = 1) {
    // The full report can precede the controller's own bookkeeping of the connection by a moment.
    ASSERT_TRUE(hub_->push(kHost, {epoch, false, {std::move(server)}}));
  }
  static link::DesiredServer server(const ServerId& id, State state, int64_t generation, int64_t fence = 1) {
    link::DesiredServer s;
    s.id = id;
    s.state = state;
    s.generation = generation;
    s.fence = fence;
    s.instance_name = "instance-" + id.str().substr(0, 8);
    s.image = link::ImageRef{ImageId(kA.str()), "qcow2", 1, ""};
    return s;
  }
  void boot(const ServerId& id) {
    want(server(id, State::running, 1));
    ASSERT_TRUE(controller_.wait_power(id, Power::running, 1));
  }

  std::string dir_;
  AgentOptions options_;
  SystemClock clock_;
  FakeHypervisor fake_;
  FakeStorage storage_{fake_};
  std::unique_ptr<Storage> local_;  ///< used instead of storage_ if set
  ScriptedController controller_;
  std::unique_ptr<link::AgentHub> hub_;
  std::unique_ptr<Agent> agent_;
};

TEST_F(AgentTest, BootStopStartDelete) {
  start();
  boot(kA);
  EXPECT_EQ(controller_.step_names(), "image disk define start");
  want(server(kA, State::stopped, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 2));
  EXPECT_EQ(controller_.step_names(), "shutdown");
  want(server(kA, State::running, 3));
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 3));
  controller_.step_names();
  want(server(kA, State::absent, 4, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::absent, 4));
  EXPECT_EQ(controller_.step_names(), "destroy undefine disk_removed");
  EXPECT_TRUE(fake_.list().empty());
  EXPECT_TRUE(storage_.servers().empty());
  want(server(kA, State::absent, 4, 2));  // repeated: reported again, nothing to do
  ASSERT_TRUE(controller_.wait([&] { return controller_.seen[kA].generation == 4; }));
}

TEST_F(AgentTest, AResizeCopiesTheDiskAndItsConfirmationRemovesTheOldOne) {
  start();
  boot(kA);
  want(server(kA, State::stopped, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 2));
  controller_.step_names();
  auto resized = server(kA, State::running, 3);
  resized.disk = 1;
  resized.disk_source = link::DiskSource{kHost, 0};
  want(resized);
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 3));
  EXPECT_EQ(controller_.step_names(), "image disk_copy define start");
  EXPECT_EQ(storage_.look(kA, 1).disks, (std::set<int64_t>{0, 1}));
  resized.generation = 4;
  resized.disk_source.reset();
  resized.old_disks = {0, 1};  // it never removes the one in use
  want(resized);
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 4));
  EXPECT_EQ(controller_.step_names(), "old_disks_removed");
  EXPECT_EQ(storage_.look(kA, 1).disks, (std::set<int64_t>{1}));
}

TEST_F(AgentTest, ADiskComesFromAnotherHostOnceItsServerIsStoppedThere) {
  controller_.disk_from = kHost;
  start();
  boot(kA);
  controller_.step_names();
  // The other host is this one too: it has the disk, and is asked for it through the controller.
  auto moved = server(kA, State::running, 3);
  want(server(kA, State::stopped, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 2));
  moved.disk = 1;
  moved.state = State::stopped;
  moved.disk_source = link::DiskSource{HostId("dddddddd-0000-4000-8000-000000000004"), 0};
  want(moved);
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 3));
  EXPECT_TRUE(storage_.look(kA, 1).disk);
}

/// Another storage, whose list of servers can be held up.
class HeldStorage final : public Storage {
 public:
  HeldStorage(Storage& inner, std::function<void()> before_list)
      : inner_(inner), before_list_(std::move(before_list)) {}
  ServerFiles look(const ServerId& id, int64_t disk) override { return inner_.look(id, disk); }
  std::vector<ServerId> servers() override {
    before_list_();
    return inner_.servers();
  }
  ServerPaths paths(const ServerId& id, int64_t disk) override { return inner_.paths(id, disk); }
  std::string ensure_image(const link::ImageRef& image, const FetchImage& fetch) override {
    return inner_.ensure_image(image, fetch);
  }
  void create_disk(const DiskOf& disk, const link::ImageRef& image, GiB size) override { inner_.create_disk(disk, image, size); }
  void copy_disk(const DiskOf& disk, int64_t from, GiB size) override { inner_.copy_disk(disk, from, size); }
  void receive_disk(const DiskOf& disk, const link::ImageRef& image, GiB size, const FetchDisk& fetch) override {
    inner_.receive_disk(disk, image, size, fetch);
  }
  link::AgentSide::Disk read_disk(const DiskOf& disk) override { return inner_.read_disk(disk); }
  void remove_disk(const DiskOf& disk) override { inner_.remove_disk(disk); }
  void write_config_drive(const ServerId& id, const std::vector<link::ConfigDriveFile>& files) override {
    inner_.write_config_drive(id, files);
  }
  void remove(const ServerId& id) override { inner_.remove(id); }
  GiB capacity() override { return inner_.capacity(); }

 private:
  Storage& inner_;
  std::function<void()> before_list_;
};

TEST_F(AgentTest, AServerThatIsBeingStartedIsNotToldOfAsOneThatWentOff) {
  // The host is looked at while the domain is defined and not started; it runs and is applied before that look is told of.
  std::promise<void> starting, listed, applied, told;
  std::atomic<int> lists{0}, files{0};
  std::atomic<bool> started{false};
  fake_.inject([&](const std::string& call, const ServerId&) {
    if (call == "list" && lists++ == 0) starting.get_future().wait();
    if (call == "start") {
      starting.set_value();
      listed.get_future().wait();
      started = true;
    }
    if (call == "find" && started.exchange(false)) {
      applied.set_value();
      told.get_future().wait();
    }
  });
  local_ = std::make_unique<HeldStorage>(storage_, [&] {
    if (files++ != 0) return;
    listed.set_value();
    applied.get_future().wait();
  });
  controller_.full.servers = {server(kA, State::running, 1)};
  start();
  EXPECT_EQ(controller_.seen[kA].power, Power::shutoff);
  EXPECT_EQ(controller_.seen[kA].generation, 0);
  told.set_value();
  EXPECT_TRUE(controller_.wait_power(kA, Power::running, 1));
}

TEST_F(AgentTest, AGuestThatIgnoresShutdownIsPoweredOff) {
  start();
  boot(kA);
  fake_.inject([](const std::string& call, const ServerId&) {
    if (call == "shutdown") throw Fault(FaultKind::unavailable, "ignored");
  });
  want(server(kA, State::stopped, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 2));
  EXPECT_GE(fake_.count("destroy"), 1);
}

TEST_F(AgentTest, AGuestThatPowersItselfOffIsReportedNotRestarted) {
  start();
  boot(kA);
  fake_.set_power(kA, DomainPower::shutoff);
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 1));
  EXPECT_EQ(fake_.count("start"), 1);
}

TEST_F(AgentTest, RebootsOnceAndReportsEachTimeItIsAsked) {
  start();
  boot(kA);
  auto s = server(kA, State::running, 1);
  s.actions = {{OperationId("op1"), 1, "reboot_hard"}};
  want(s);
  ASSERT_TRUE(controller_.wait([&] { return controller_.actions.count(OperationId("op1")) > 0; }));
  EXPECT_TRUE(controller_.actions[OperationId("op1")].ok);
  s.actions.push_back({OperationId("op2"), 2, "dance"});
  want(s);
  ASSERT_TRUE(controller_.wait([&] { return controller_.actions.count(OperationId("op2")) > 0; }));
  EXPECT_FALSE(controller_.actions[OperationId("op2")].ok);
  EXPECT_EQ(fake_.count("reset"), 1);
}

TEST_F(AgentTest, ALowerFenceIsRefused) {
  start();
  boot(kA);
  want(server(kA, State::running, 2, 5));
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 2));
  controller_.step_names();
  want(server(kA, State::absent, 3, 4));
  ASSERT_TRUE(controller_.wait([&] { return !controller_.steps.empty(); }));
  EXPECT_EQ(controller_.step_names(), "refused");
  EXPECT_EQ(fake_.find(kA).power, DomainPower::running);
}

TEST_F(AgentTest, AnEpochThatWentBackIsRefusedEvenAfterARestart) {
  controller_.full.epoch = 5;
  controller_.full.servers = {server(kA, State::running, 1)};
  start_agent();
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 1));
  agent_.reset();
  controller_.full = {4, true, {server(kA, State::absent, 2, 9)}};
  start_agent();
  ASSERT_TRUE([&] {
    for (const auto end = std::chrono::steady_clock::now() + 10s; std::chrono::steady_clock::now() < end;)
      if (!agent_->status().refused.empty())
        return true;
      else
        std::this_thread::yield();
    return false;
  }());
  EXPECT_EQ(agent_->status().epoch, 5);
  EXPECT_EQ(fake_.find(kA).power, DomainPower::running);
}

TEST_F(AgentTest, AChangeThatALaterOneOvertookIsTaken) {
  controller_.full.epoch = 5;
  start();
  want(server(kA, State::running, 1), 7);
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 1));
  want(server(kB, State::running, 1), 6);
  ASSERT_TRUE(controller_.wait_power(kB, Power::running, 1));
  EXPECT_EQ(agent_->status().epoch, 7);
}

TEST_F(AgentTest, AChangeOfBeforeTheFullAssignmentIsIgnoredAndNoAlarm) {
  controller_.full.epoch = 5;
  controller_.full.servers = {server(kA, State::running, 1)};
  start();
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 1));
  want(server(kA, State::absent, 2), 4);
  EXPECT_EQ(agent_->status().refused, "");
  want(server(kB, State::running, 1), 5);
  ASSERT_TRUE(controller_.wait_power(kB, Power::running, 1));
  EXPECT_EQ(agent_->status().refused, "");
  EXPECT_EQ(fake_.find(kA).power, DomainPower::running);
}

TEST_F(AgentTest, WhatNobodyMentionsIsQuarantined) {
  fake_.define({.id = kA, .name = "lost"});
  fake_.add_foreign({kB, "somebody's", DomainPower::running, 0, false});
  start();
  ASSERT_TRUE(
      controller_.wait([&] { return controller_.seen[kA].quarantined && controller_.seen[kB].quarantined; }));
  ASSERT_TRUE(controller_.wait([&] { return !controller_.seen[kB].cause.empty(); }));
  EXPECT_EQ(fake_.list().size(), 2u);
  EXPECT_EQ(fake_.count("undefine") + fake_.count("destroy"), 0);
}

TEST_F(AgentTest, AHungCallDelaysNoOtherServer) {
  options_.workers = 1;
  options_.step_deadline = 50ms;
  std::mutex mutex;
  std::condition_variable released;
  bool release = false;
  fake_.inject([&](const std::string& call, const ServerId& id) {
    std::unique_lock lock(mutex);
    if (call == "start" && id == kA) released.wait(lock, [&] { return release; });
  });
  start();
  want(server(kA, State::running, 1));
  want(server(kB, State::running, 1));
  EXPECT_TRUE(controller_.wait_power(kB, Power::running, 1));
  EXPECT_TRUE(controller_.wait(
      [&] { return controller_.seen[kA].cause.find("still running") != std::string::npos; }));
  EXPECT_EQ(agent_->status().hung.size(), 1u);
  {
    std::lock_guard lock(mutex);
    release = true;
    released.notify_all();
  }
  EXPECT_TRUE(controller_.wait_power(kA, Power::running, 1));
  EXPECT_TRUE(controller_.wait([&] { return controller_.seen[kA].cause.empty(); }));
}

TEST_F(AgentTest, TransientFailuresAreRetriedAndUnknownOnesGivenUp) {
  std::atomic<int> failures{3};
  fake_.inject([&](const std::string& call, const ServerId& id) {
    if (call != "start") return;
    if (id == kA && failures-- > 0) throw Fault(FaultKind::unavailable, "libvirtd is away");
    if (id == kB) throw Fault(FaultKind::internal, "qemu: cannot allocate memory");
  });
  start();
  want(server(kA, State::running, 1));
  want(server(kB, State::running, 1));
  EXPECT_TRUE(controller_.wait_power(kA, Power::running, 1));
  ASSERT_TRUE(controller_.wait([&] { return controller_.seen[kB].permanent; }));
  EXPECT_EQ(controller_.seen[kB].failed_generation, 1);
  EXPECT_EQ(controller_.seen[kB].cause, "qemu: cannot allocate memory");
  EXPECT_EQ(fake_.count("define"), 2);
  want(server(kB, State::absent, 2));  // an ERROR server can be deleted
  EXPECT_TRUE(controller_.wait_power(kB, Power::absent, 2));
}

TEST_F(AgentTest, ARestartAdoptsAndFinishesWhatWasBegun) {
  controller_.full.servers = {server(kA, State::running, 1)};
  start_agent();
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 1));
  agent_.reset();
  fake_.define({.id = kB, .generation = 1});  // killed after define
  controller_.full.servers.push_back(server(kB, State::running, 1));
  start_agent();
  ASSERT_TRUE(controller_.wait_power(kB, Power::running, 1));
  EXPECT_EQ(fake_.count("start"), 2);  // A was not touched
  EXPECT_EQ(fake_.count("define"), 2);
}

TEST_F(AgentTest, AControllerRestartGetsAFullReport) {
  start();
  boot(kA);
  controller_.full.servers = {server(kA, State::running, 1)};
  hub_.reset();
  fake_.set_power(kA, DomainPower::shutoff);
  const int before = controller_.fulls;
  hub_ = link::serve({dir_ + "/agent.sock"}, controller_);
  ASSERT_TRUE(
      controller_.wait([&] { return controller_.fulls > before && controller_.last_full.count(kA); }));
  ASSERT_TRUE(controller_.wait_power(kA, Power::shutoff, 1));
}

TEST_F(AgentTest, ConsoleLogComesFromTheFolder) {
  start();
  EXPECT_EQ(hub_->console_log(kHost, kA, 100), "");
  EXPECT_THROW(hub_->open_console(kHost, kA, link::AgentHub::Console::serial), Fault);
}

TEST_F(AgentTest, RealFilesOverTheLink) {
  local_ = make_local_storage(dir_ + "/instances", dir_ + "/images");
  controller_.image = std::string(3 << 20, 'i');
  Digest digest("sha512");
  digest.update(controller_.image);
  start();
  auto a = server(kA, State::running, 1);
  a.image = link::ImageRef{ImageId(kA.str()), "raw", controller_.image.size(), digest.finish_hex()};
  a.root_disk = GiB{1};
  a.config_drive = true;
  a.config_drive_files = {{"openstack/latest/meta_data.json", "{}"}};
  want(a);
  ASSERT_TRUE(controller_.wait_power(kA, Power::running, 1));
  EXPECT_EQ(controller_.step_names(), "image disk config_drive define start");
  const auto info = qemu::probe_image(local_->paths(kA).disk);
  EXPECT_EQ(info.format, "qcow2");
  EXPECT_EQ(info.virtual_size, 1ull << 30);
  // The same bytes under a wrong checksum: refused for good.
  auto b = server(kB, State::running, 1);
  b.image = a.image;
  b.image->sha512 = std::string(128, '0');
  want(b);
  ASSERT_TRUE(controller_.wait([&] { return controller_.seen[kB].permanent; }));
  EXPECT_NE(controller_.seen[kB].cause.find("checksum"), std::string::npos);
  want(server(kA, State::absent, 2));
  ASSERT_TRUE(controller_.wait_power(kA, Power::absent, 2));
  EXPECT_FALSE(local_->look(kA).any);
}

TEST_F(AgentTest, AnImageIsFetchedAheadOnceItsBytesCanBeHad) {
  local_ = make_local_storage(dir_ + "/instances", dir_ + "/images");
  options_.retry_max = 60ms;
  controller_.image = std::string(3 << 20, 'i');
  Digest digest("sha512");
  digest.update(controller_.image);
  const link::ImageRef image{ImageId(kA.str()), "raw", controller_.image.size(), digest.finish_hex()};
  link::ImageRef broken = image;
  broken.id = ImageId(kB.str());
  broken.sha512 = std::string(128, '0');
  controller_.refusals = 2;
  controller_.full.prefetches = {{OperationId("ahead"), 4, image}, {OperationId("broken"), 5, broken}};
  start();
  ASSERT_TRUE(controller_.wait([&] { return controller_.actions.size() == 2; }));
  EXPECT_TRUE(controller_.actions[OperationId("ahead")].ok);
  EXPECT_EQ(controller_.actions[OperationId("ahead")].fence, 4);
  EXPECT_FALSE(controller_.actions[OperationId("broken")].ok);
  EXPECT_NE(controller_.actions[OperationId("broken")].message.find("checksum"), std::string::npos);
  EXPECT_EQ(read_file(dir_ + "/images/" + image.sha512 + ".img"), controller_.image);
  EXPECT_EQ(controller_.refusals, 0);
  // It was done, and nobody heard of it: it is told again.
  controller_.wait([&] { return controller_.actions.clear(), true; });
  ASSERT_TRUE(hub_->push(kHost, {1, false, {}, {{OperationId("ahead"), 4, image}}}));
  ASSERT_TRUE(controller_.wait([&] { return controller_.actions.count(OperationId("ahead")) > 0; }));
}

TEST_F(AgentTest, AThousandBoots) {
  start();
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i)
    want(server(ServerId(fmt::format("dddddddd-0000-4000-8000-{:012}", i)), State::running, 1));
  ASSERT_TRUE(controller_.wait(
      [&] {
        return std::count_if(controller_.seen.begin(), controller_.seen.end(),
                             [](const auto& s) { return s.second.power == Power::running; }) == 1000;
      },
      30s));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  RecordProperty("seconds", fmt::format("{:.2f}", took.count()));
  std::cout << "1000 boots in " << took.count() << " s\n";
}

TEST(Fake, KeepsItsDomainsInAFile) {
  char name[] = "/tmp/virga-fake-XXXXXX";
  const std::string dir = mkdtemp(name);
  {
    FakeHypervisor fake(dir + "/domains");
    fake.define({.id = kA, .generation = 3, .name = "x"});
    fake.start(kA);
    fake.define({.id = kB, .name = "y"});
    fake.undefine(kB);
  }
  FakeHypervisor again(dir + "/domains");
  ASSERT_EQ(again.list().size(), 1u);
  EXPECT_EQ(again.find(kA).power, DomainPower::running);
  EXPECT_EQ(again.find(kA).generation, 3);
  std::system(("rm -rf " + dir).c_str());
}

TEST_F(AgentTest, ACertificateIsRenewedInTime) {
  const auto now = std::chrono::system_clock::now();
  const auto year_ago = now - std::chrono::hours(24 * 300);
  const PemPair ca = make_ca("hosts", year_ago);
  const auto sign = [&](const std::string& request, WallTime when) { return sign_client_certificate(ca, request, "host1", "virga:host:h", when); };
  controller_.sign = [&](const std::string& request) { return sign(request, now); };
  options_.identity_dir = dir_ + "/identity";
  const CertificateRequest request = make_certificate_request("host1");
  const link::Credentials old{ca.certificate, sign(request.request, year_ago), request.key};
  write_credentials(options_.identity_dir, old);
  EXPECT_EQ(read_credentials(options_.identity_dir), old);
  start();
  EXPECT_TRUE(agent_->refresh_certificate());
  const link::Credentials fresh = read_credentials(options_.identity_dir);
  EXPECT_NE(fresh.key, old.key);
  check_client(fresh, ca);
  EXPECT_FALSE(agent_->refresh_certificate());  // it has a year now
}

}  // namespace
}  // namespace virga::host
