#include "compute/scheduler.h"

namespace virga::compute {
namespace {

std::string refusal(const placement::Candidate& candidate, const HostState* host, const Ask& ask) {
  if (!host) return "it is no compute host";
  if (!host->enabled)
    return "it is disabled" + (host->disabled_reason.empty() ? "" : " (" + host->disabled_reason + ")");
  if (host->forced_down) return "it is forced down";
  if (!host->up) return "its agent is not connected";
  if (!ask.host.empty() && ask.host != host->hostname)
    return fmt::format("host '{}' was asked for", ask.host);
  if (!ask.zone.empty() && ask.zone != host->zone)
    return fmt::format("it is in availability zone '{}', not '{}'", host->zone, ask.zone);
  if (!ask.only_hosts.empty() && !ask.only_hosts.count(host->id))
    return "the scheduler hint asks for another host";
  if (ask.never_hosts.count(host->id)) return "the scheduler hint or server group excludes it";
  return candidate.refusal;
}

int64_t free_memory(const placement::Candidate& candidate) {
  const auto room = candidate.rooms.find("MEMORY_MB");
  return room == candidate.rooms.end() ? 0 : room->second.capacity - room->second.used;
}

}  // namespace

std::string Choice::message() const {
  std::string text = "No valid host was found.";
  if (refusals.empty()) return text + " There is no compute host.";
  for (size_t i = 0; i < refusals.size(); ++i)
    text += fmt::format("{} {}: {}", i == 0 ? "" : ";", refusals[i].hostname, refusals[i].reason);
  return text + ".";
}

Choice choose(const std::vector<placement::Candidate>& candidates, const std::vector<HostState>& hosts,
              const Ask& ask) {
  Choice choice;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto host = std::find_if(hosts.begin(), hosts.end(),
                                   [&](const HostState& h) { return h.id == candidates[i].provider_id; });
    if (host == hosts.end()) continue;  // providers of other services
    std::string why = refusal(candidates[i], &*host, ask);
    if (!why.empty()) {
      choice.refusals.push_back({host->hostname, std::move(why)});
      continue;
    }
    if (!choice.candidate || free_memory(candidates[i]) > free_memory(candidates[*choice.candidate]))
      choice.candidate = i;
  }
  return choice;
}

}  // namespace virga::compute
