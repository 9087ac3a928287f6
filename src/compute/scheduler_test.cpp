#include "compute/scheduler.h"

#include <gtest/gtest.h>

namespace virga::compute {
namespace {

placement::Candidate candidate(const std::string& id, int64_t memory, int64_t vcpus = 8, int64_t disk = 100) {
  placement::Candidate c;
  c.provider_id = id;
  c.rooms = {{"MEMORY_MB", {memory, 0, memory}}, {"VCPU", {vcpus, 0, vcpus}}, {"DISK_GB", {disk, 0, disk}}};
  return c;
}

placement::Candidate short_of(const std::string& id, int64_t wanted, int64_t free) {
  auto c = candidate(id, free);
  c.shortages.push_back(
      {fmt::format("MEMORY_MB: {} wanted", wanted), fmt::format(", {} free of {}", free, free), free});
  return c;
}

HostState host(const std::string& id) {
  HostState h;
  h.id = h.hostname = id;
  h.zone = "nova";
  return h;
}

HostStates states(std::initializer_list<HostState> hosts) {
  HostStates all;
  for (const auto& h : hosts) all.emplace(h.id, h);
  return all;
}

/// The one reason why this host does not take what is asked; "" if it does.
std::string reason(const HostState& h, const Ask& ask) {
  const auto choice = choose({candidate(h.id, 100)}, states({h}), ask);
  return choice.refusals.empty() ? "" : choice.refusals.front().reason;
}

TEST(Scheduler, TakesTheEmptiestHost) {
  const auto hosts = states({host("a"), host("b"), host("c")});
  EXPECT_EQ(choose({candidate("a", 100), candidate("b", 300)}, hosts, {}).candidate, 1u);
  // Memory alone does not decide: b has a little more of it, but nearly no CPU left.
  EXPECT_EQ(choose({candidate("a", 290, 8), candidate("b", 300, 1)}, hosts, {}).candidate, 0u);
  EXPECT_EQ(choose({candidate("a", 300, 8, 10), candidate("b", 290, 8, 100)}, hosts, {}).candidate, 1u);
  EXPECT_EQ(choose({candidate("a", 300), candidate("b", 300)}, hosts, {}).candidate, 0u);
}

TEST(Scheduler, ProvidersThatAreNoHostsAreNoHosts) {
  const auto choice = choose({candidate("storage", 100)}, states({host("a")}), {});
  EXPECT_FALSE(choice.candidate);
  EXPECT_EQ(choice.message(), "No valid host was found. There is no compute host.");
}

TEST(Scheduler, EveryRefusalNamesItsCause) {
  auto b = host("b"), c = host("c");
  b.enabled = false;
  c.up = false;
  const auto choice =
      choose({short_of("a", 2, 1), candidate("b", 9), candidate("c", 9)}, states({host("a"), b, c}), {});
  EXPECT_FALSE(choice.candidate);
  EXPECT_EQ(choice.message(),
            "No valid host was found. a: MEMORY_MB: 2 wanted, 1 free of 1; b: it is disabled; c: its agent "
            "is not connected.");
}

TEST(Scheduler, EachFilterRefuses) {
  auto h = host("a");
  EXPECT_EQ(reason(h, {}), "");
  EXPECT_EQ(reason(h, {.zone = "z"}), "it is in availability zone 'nova', not 'z'");
  EXPECT_EQ(reason(h, {.zone = "nova", .host = "b"}), "host 'b' was asked for");
  EXPECT_EQ(reason(h, {.only_hosts = std::set<std::string>{"b"}}),
            "the scheduler hint or server group asks for another host");
  EXPECT_EQ(reason(h, {.only_hosts = std::set<std::string>{}}),
            "the scheduler hint or server group asks for another host");
  EXPECT_EQ(reason(h, {.never_hosts = {"a"}}), "the scheduler hint or server group excludes it");
  h.forced_down = true;
  EXPECT_EQ(reason(h, {}), "it is forced down");
  h.enabled = false;
  h.disabled_reason = "new disk";
  EXPECT_EQ(reason(h, {}), "it is disabled (new disk)");
}

TEST(Scheduler, AggregatesMustHaveWhatTheFlavorAsks) {
  Aggregate ssd, fast;
  ssd.metadata = {{"disk", "ssd, nvme"}};
  fast.metadata = {{"ghz", "4"}};
  auto h = host("a");
  EXPECT_EQ(reason(h, {.extra_specs = {{"disk", "ssd"}}}), "none of its aggregates has disk = ssd");
  h.aggregates = {&ssd};
  EXPECT_EQ(reason(h, {.extra_specs = {{"disk", "ssd"}}}), "");
  EXPECT_EQ(reason(h, {.extra_specs = {{"disk", "<or> hdd <or> nvme"}}}), "");
  EXPECT_EQ(reason(h, {.extra_specs = {{"disk", "ssd"}, {"ghz", ">= 3"}}}),
            "none of its aggregates has ghz = >= 3");
  h.aggregates = {&ssd, &fast};
  EXPECT_EQ(reason(h, {.extra_specs = {{"disk", "ssd"}, {"ghz", ">= 3"}}}), "");
}

TEST(Scheduler, AggregatesMayBeKeptForProjects) {
  Aggregate theirs, ours;
  theirs.metadata = {{"filter_tenant_id", "p1,p2"}};
  ours.metadata = {{"filter_tenant_id", "p3"}};
  auto h = host("a");
  h.aggregates = {&theirs};
  EXPECT_EQ(reason(h, {.project_id = "p2"}), "");
  EXPECT_EQ(reason(h, {.project_id = "p3"}), "its aggregates are kept for other projects");
  h.aggregates = {&theirs, &ours};
  EXPECT_EQ(reason(h, {.project_id = "p3"}), "");
}

TEST(Scheduler, SoftGroupsWishBeforeWeightsCount) {
  const auto hosts = states({host("a"), host("b"), host("c")});
  const std::vector<placement::Candidate> all{candidate("a", 300), candidate("b", 200), candidate("c", 100)};
  const std::map<std::string, int64_t> members{{"a", 1}, {"c", 2}};
  EXPECT_EQ(choose(all, hosts, {.wish = Ask::Wish::together, .members = members}).candidate, 2u);
  EXPECT_EQ(choose(all, hosts, {.wish = Ask::Wish::apart, .members = members}).candidate, 1u);
  EXPECT_EQ(choose(all, hosts, {.members = members}).candidate, 0u);
}

TEST(Scheduler, ManyHostsOfOneCauseAreCounted) {
  std::vector<placement::Candidate> all;
  HostStates hosts;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = fmt::format("node-{}", i);
    all.push_back(short_of(name, 4096, i));
    hosts.emplace(name, host(name));
  }
  hosts.at("node-7").enabled = false;
  const auto choice = choose(all, hosts, {});
  EXPECT_EQ(choice.message(),
            "No valid host was found. 999 hosts (node-0, node-1, node-2, …): MEMORY_MB: 4096 wanted, at most "
            "999 free; "
            "node-7: it is disabled.");
  EXPECT_EQ(choice.groups(1).size(), 1u);
  EXPECT_EQ(choice.groups(1).front().count, 999u);
}

TEST(Scheduler, AMessageHasAnEnd) {
  std::vector<placement::Candidate> all;
  HostStates hosts;
  for (int i = 0; i < 9; ++i) {
    const std::string name = fmt::format("n{}", i);
    all.push_back(candidate(name, 1));
    auto h = host(name);
    h.enabled = false;
    h.disabled_reason = "reason " + name;
    hosts.emplace(name, h);
  }
  const std::string text = choose(all, hosts, {}).message();
  EXPECT_NE(text.find("n4: it is disabled (reason n4); and 4 more."), std::string::npos) << text;
}

}  // namespace
}  // namespace virga::compute
