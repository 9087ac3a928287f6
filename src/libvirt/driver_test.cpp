// The driver against libvirt's built-in test hypervisor: life-cycle, idempotence, events, ownership.

#include <gtest/gtest.h>

#include <condition_variable>
#include <set>

#include "libvirt/api.h"

namespace virga::libvirt {
namespace {

using host::DomainPower;
using namespace std::chrono_literals;

constexpr const char* kStranger = "6695eb01-f6a4-8304-79aa-97f2502e193f";  // "test" in test:///default

std::unique_ptr<host::Hypervisor> test_driver() {
  Options options;
  options.uri = "test:///default";
  options.virt_type = "test";
  return connect(options);
}

host::DomainSpec spec_of(const char* id, const char* name) {
  host::DomainSpec spec;
  spec.id = ServerId(id);
  spec.name = name;
  spec.generation = 1;
  spec.disks = {{.path = "/nowhere/disk"}};
  return spec;
}

FaultKind kind_thrown(const std::function<void()>& f) {
  try {
    f();
  } catch (const Fault& fault) {
    return fault.kind;
  }
  return FaultKind::multiple_choices;
}

TEST(Driver, LifeCycleIsIdempotent) {
  auto hv = test_driver();
  auto spec = spec_of("11111111-1111-4111-8111-111111111111", "instance-00000001");
  EXPECT_EQ(hv->find(spec.id).power, DomainPower::absent);
  hv->define(spec);
  auto domain = hv->find(spec.id);
  EXPECT_EQ(domain.power, DomainPower::shutoff);
  EXPECT_TRUE(domain.ours);
  EXPECT_EQ(domain.generation, 1);
  spec.generation = 2;
  hv->define(spec);
  EXPECT_EQ(hv->find(spec.id).generation, 2);
  hv->start(spec.id);
  hv->start(spec.id);
  EXPECT_EQ(hv->find(spec.id).power, DomainPower::running);
  hv->destroy(spec.id);
  hv->destroy(spec.id);
  EXPECT_EQ(hv->find(spec.id).power, DomainPower::shutoff);
  hv->undefine(spec.id);
  hv->undefine(spec.id);
  hv->destroy(spec.id);
  EXPECT_EQ(hv->find(spec.id).power, DomainPower::absent);
  EXPECT_EQ(kind_thrown([&] { hv->start(spec.id); }), FaultKind::not_found);
}

TEST(Driver, LeavesStrangersAlone) {
  auto hv = test_driver();
  ServerId stranger(kStranger);
  auto before = hv->find(stranger);
  ASSERT_EQ(before.power, DomainPower::running);
  EXPECT_FALSE(before.ours);
  EXPECT_EQ(kind_thrown([&] { hv->destroy(stranger); }), FaultKind::conflict);
  EXPECT_EQ(kind_thrown([&] { hv->undefine(stranger); }), FaultKind::conflict);
  EXPECT_EQ(kind_thrown([&] { hv->define(spec_of(kStranger, "test")); }), FaultKind::conflict);
  EXPECT_EQ(hv->find(stranger).power, DomainPower::running);
}

TEST(Driver, ReportsChanges) {
  auto hv = test_driver();
  std::mutex mutex;
  std::condition_variable wake;
  int events = 0;
  auto spec = spec_of("22222222-2222-4222-8222-222222222222", "instance-00000002");
  hv->on_change([&](const ServerId& id) {
    std::lock_guard lock(mutex);
    events += id == spec.id;
    wake.notify_all();
  });
  hv->define(spec);
  hv->start(spec.id);
  hv->destroy(spec.id);
  std::unique_lock lock(mutex);
  EXPECT_TRUE(wake.wait_for(lock, 5s, [&] { return events >= 3; })) << events;
}

TEST(Driver, ListsAndDescribesTheHost) {
  auto hv = test_driver();
  auto domains = hv->list();
  ASSERT_EQ(domains.size(), 1u);
  EXPECT_EQ(domains[0].name, "test");
  EXPECT_FALSE(domains[0].ours);
  auto host = hv->capabilities();
  EXPECT_GT(host.vcpus, 0);
  EXPECT_GT(host.memory.count, 0u);
}

TEST(Driver, SaysThatLibvirtIsAway) {
  Options options;
  options.uri = "qemu+unix:///system?socket=/nonexistent/libvirt-sock";
  options.virt_type = "qemu";
  auto hv = connect(options);
  EXPECT_EQ(kind_thrown([&] { hv->list(); }), FaultKind::unavailable);
}

TEST(Driver, AutoAsksTheProbe) {
  Options options;
  options.uri = "test:///default";
  options.kvm_usable = [] { return true; };
  EXPECT_EQ(connect(options)->capabilities().virt_type, "kvm");
  options.kvm_usable = nullptr;
  EXPECT_EQ(connect(options)->capabilities().virt_type, "qemu");
}

}  // namespace
}  // namespace virga::libvirt
