#include "compute/scheduler.h"

#include <algorithm>
#include <array>

#include "base/text.h"
#include "compute/extra_spec_match.h"

namespace virga::compute {
namespace {

constexpr size_t kNamesShown = 3;   ///< of a group of hosts
constexpr size_t kCausesShown = 5;  ///< in a message

template <class F>
bool any_value(const Aggregate& a, const std::string& key, F&& holds) {
  const auto it = a.metadata.find(key);
  if (it == a.metadata.end()) return false;
  for (const auto& part : split(it->second, ',')) {
    const size_t from = std::min(part.find_first_not_of(' '), part.size());
    if (holds(std::string_view(part).substr(from, part.find_last_not_of(' ') + 1 - from))) return true;
  }
  return false;
}

const std::string kKeptFor = "filter_tenant_id";

std::string extra_spec_refusal(const HostState& host, const Ask& ask) {
  for (const auto& [key, asked] : ask.extra_specs)
    if (std::none_of(host.aggregates.begin(), host.aggregates.end(),
                     [&](const Aggregate* a) { return aggregate_matches(*a, key, asked); }))
      return fmt::format("none of its aggregates has {} = {}", key, asked);
  return {};
}

std::string tenant_refusal(const HostState& host, const Ask& ask) {
  bool kept = false;
  for (const auto* a : host.aggregates) {
    if (is_kept_for(*a, ask.project_id)) return {};
    kept = kept || is_kept(*a);
  }
  return kept ? "its aggregates are kept for other projects" : "";
}

/// Why the host itself does not take it, before what placement says; "" if it may.
std::string host_refusal(const HostState& host, const Ask& ask) {
  if (!host.enabled)
    return "it is disabled" + (host.disabled_reason.empty() ? "" : " (" + host.disabled_reason + ")");
  if (host.forced_down) return "it is forced down";
  if (!host.up) return "its agent is not connected";
  if (!ask.host.empty() && ask.host != host.hostname) return fmt::format("host '{}' was asked for", ask.host);
  if (!ask.zone.empty() && ask.zone != host.zone)
    return fmt::format("it is in availability zone '{}', not '{}'", host.zone, ask.zone);
  if (ask.only_hosts && !ask.only_hosts->contains(host.id))
    return "the scheduler hint or server group asks for another host";
  if (ask.never_hosts.contains(host.id)) return "the scheduler hint or server group excludes it";
  if (host.link_minor < ask.least_link_minor) return "its agent is of an older version that cannot take a running server";
  if (!ask.virt_type.empty() && ask.virt_type != host.virt_type)
    return fmt::format("its guests run under '{}', and this one under '{}'", host.virt_type, ask.virt_type);
  if (auto why = extra_spec_refusal(host, ask); !why.empty()) return why;
  return tenant_refusal(host, ask);
}

void refuse(Choice& choice, const HostState& host, std::string why, const placement::Candidate& candidate) {
  Choice::Refusal refusal{host.hostname, why, why, {}};
  if (why.empty()) {
    refusal.shortages = candidate.shortages;
    for (const auto& s : candidate.shortages) {
      const char* between = refusal.kind.empty() ? "" : "; ";
      refusal.kind += between + s.what;
      refusal.reason += between + s.what + s.here;
    }
  }
  choice.refusals.push_back(std::move(refusal));
}

using Shares = std::array<double, 3>;

/// What is free of VCPU, MEMORY_MB and DISK_GB.
Shares free_of(const placement::Candidate& candidate) {
  static const std::array<std::string, 3> kClasses{"VCPU", "MEMORY_MB", "DISK_GB"};
  Shares free{};
  for (size_t i = 0; i < free.size(); ++i)
    if (const auto room = candidate.rooms.find(kClasses[i]); room != candidate.rooms.end())
      free[i] = static_cast<double>(std::max<int64_t>(0, room->second.capacity - room->second.used));
  return free;
}

int64_t wish_of(const Ask& ask, const std::string& host) {
  if (ask.wish == Ask::Wish::none) return 0;
  const auto members = ask.members.find(host);
  const int64_t n = members == ask.members.end() ? 0 : members->second;
  return ask.wish == Ask::Wish::together ? n : -n;
}

/// One cause of several hosts: of what is short, the most that any of them has.
std::string common_reason(const Choice::Refusal& one, const std::vector<int64_t>& most_free) {
  if (one.shortages.empty()) return one.reason;
  std::string text;
  for (size_t i = 0; i < one.shortages.size(); ++i)
    text += fmt::format("{}{}{}", i == 0 ? "" : "; ", one.shortages[i].what,
                        most_free[i] < 0 ? "" : fmt::format(", at most {} free", most_free[i]));
  return text;
}

}  // namespace

bool aggregate_matches(const Aggregate& aggregate, const std::string& key, std::string_view asked) {
  return any_value(aggregate, key, [&](std::string_view value) { return extra_spec_matches(value, asked); });
}

bool is_kept(const Aggregate& aggregate) {
  return aggregate.metadata.contains(kKeptFor);
}

bool is_kept_for(const Aggregate& aggregate, const std::string& project) {
  return any_value(aggregate, kKeptFor, [&](std::string_view value) { return value == project; });
}

std::string Choice::Group::text() const {
  if (count == 1) return fmt::format("{}: {}", hosts.front(), reason);
  std::string names;
  for (const auto& host : hosts) names += (names.empty() ? "" : ", ") + host;
  return fmt::format("{} hosts ({}{}): {}", count, names, count > hosts.size() ? ", …" : "", reason);
}

std::vector<Choice::Group> Choice::groups(size_t limit) const {
  struct Same {
    std::vector<const Refusal*> refusals;  // the first few
    size_t count = 0;
    std::vector<int64_t> most_free;
  };
  std::unordered_map<std::string, size_t> at;
  std::vector<Same> causes;  // in the order of their first host
  for (const auto& r : refusals) {
    const auto [it, fresh] = at.emplace(r.kind, causes.size());
    if (fresh) causes.push_back({{}, 0, std::vector<int64_t>(r.shortages.size(), -1)});
    auto& same = causes[it->second];
    if (same.count++ < kNamesShown) same.refusals.push_back(&r);
    for (size_t i = 0; i < r.shortages.size() && i < same.most_free.size(); ++i)
      same.most_free[i] = std::max(same.most_free[i], r.shortages[i].free);
  }
  std::vector<Group> all;
  for (const auto& same : causes) {
    if (same.count <= kNamesShown) {
      for (const auto* r : same.refusals) all.push_back({{r->hostname}, 1, r->reason});
      continue;
    }
    Group group{{}, same.count, common_reason(*same.refusals.front(), same.most_free)};
    for (const auto* r : same.refusals) group.hosts.push_back(r->hostname);
    all.push_back(std::move(group));
  }
  std::stable_sort(all.begin(), all.end(), [](const Group& a, const Group& b) { return a.count > b.count; });
  if (all.size() > limit) all.resize(limit);
  return all;
}

std::string Choice::message() const {
  std::string text = "No valid host was found.";
  if (refusals.empty()) return text + " There is no compute host.";
  size_t told = 0;
  const auto shown = groups(kCausesShown);
  for (size_t i = 0; i < shown.size(); ++i) {
    text += fmt::format("{} {}", i == 0 ? "" : ";", shown[i].text());
    told += shown[i].count;
  }
  if (told < refusals.size()) text += fmt::format("; and {} more", refusals.size() - told);
  return text + ".";
}

Choice filter(const std::vector<placement::Candidate>& candidates, const HostStates& hosts, const Ask& ask) {
  Choice choice;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto host = hosts.find(candidates[i].provider_id);
    if (host == hosts.end()) continue;  // providers of other services
    std::string why = host_refusal(host->second, ask);
    if (why.empty() && candidates[i].shortages.empty())
      choice.passing.push_back(i);
    else
      refuse(choice, host->second, std::move(why), candidates[i]);
  }
  return choice;
}

std::vector<size_t> weigh(const std::vector<placement::Candidate>& candidates, const std::vector<size_t>& passing,
                          const Ask& ask) {
  Shares most{};
  std::vector<Shares> free;
  free.reserve(passing.size());
  for (const size_t i : passing) {
    free.push_back(free_of(candidates[i]));
    for (size_t c = 0; c < most.size(); ++c) most[c] = std::max(most[c], free.back()[c]);
  }
  std::vector<size_t> best;
  std::pair<int64_t, double> highest;
  for (size_t n = 0; n < passing.size(); ++n) {
    double sum = 0;
    for (size_t c = 0; c < most.size(); ++c) sum += most[c] > 0 ? free[n][c] / most[c] : 0;
    const std::pair weight{wish_of(ask, candidates[passing[n]].provider_id), sum};
    if (!best.empty() && weight < highest) continue;
    if (weight > highest) best.clear();
    best.push_back(passing[n]);
    highest = weight;
  }
  return best;
}

Choice choose(const std::vector<placement::Candidate>& candidates, const HostStates& hosts, const Ask& ask) {
  Choice choice = filter(candidates, hosts, ask);
  const auto best = weigh(candidates, choice.passing, ask);
  if (!best.empty()) choice.candidate = best.front();
  return choice;
}

}  // namespace virga::compute
