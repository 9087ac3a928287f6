#include "compute/placing.h"

#include <algorithm>
#include <charconv>

#include "compute/quotas.h"
#include "compute/remains.h"

namespace virga::compute {
namespace {

constexpr size_t kFirstPage = 8;
constexpr size_t kNextPages = 8;  ///< each page is so many times as large as the one before
constexpr size_t kFewUp = 500;    ///< so many hosts are sooner looked at one by one than come across

constexpr std::string_view kDisabledTrait = "COMPUTE_STATUS_DISABLED";

void add_host(const Core& core, const db::Row& row, HostStates& all) {
  HostState h;
  h.id = row.text(0);
  h.hostname = row.text(1);
  h.zone = row.text(2);
  h.disabled_reason = row.text(3);
  h.virt_type = row.text(7);
  h.link_minor = row.integer(8);
  h.enabled = row.boolean(4);
  h.forced_down = row.boolean(5);
  h.up = core.is_up(HostId(h.id), row.text(6));
  all.emplace(h.id, std::move(h));
}

void keep_common(std::optional<std::set<std::string>>& only, const std::set<std::string>& hosts) {
  if (!only) {
    only = hosts;
    return;
  }
  std::erase_if(*only, [&](const std::string& host) { return !hosts.contains(host); });
}

/// One boot's search.
class Search {
 public:
  Search(Core& core, db::Tx& tx, const Placing& placing)
      : core_(core),
        tx_(tx),
        placing_(placing),
        aggregates_(aggregates_without_hosts(tx)),
        demand_(placing.demand) {
    for (auto& a : aggregates_) by_number_[a.number] = &a;
    needs_aggregates_ =
        !placing.ask.extra_specs.empty() || std::any_of(aggregates_.begin(), aggregates_.end(), is_kept);
    narrow();
  }

  Placed run() {
    if (placing_.ask.wish == Ask::Wish::together && !placing_.ask.members.empty() && among_members())
      return std::move(placed_);
    if (page_by_page(demand_)) return std::move(placed_);
    if (!placing_.why) throw NoHost(placing_);
    if (placing_.why->passing.empty()) {
      placed_.choice = *placing_.why;
    } else {  // there was one then, which others have taken, or servers of the same request
      auto all = survey();
      judge(all, host_states(nullptr), true);
    }
    return std::move(placed_);
  }

  Choice why_not() { return filter(survey(), host_states(nullptr), placing_.ask); }

 private:
  template <class Holds>
  std::vector<std::string> uuids(Holds&& holds) const {
    std::vector<std::string> found;
    for (const auto& a : aggregates_)
      if (holds(a)) found.push_back(a.uuid);
    return found;
  }

  static bool names_zone(const Aggregate& a) { return a.metadata.contains(std::string(kZoneKey)); }
  static bool is_in_zone(const Aggregate& a, std::string_view zone) {
    const auto it = a.metadata.find(std::string(kZoneKey));
    return it != a.metadata.end() && it->second == zone;
  }

  /// What the ask means for placement, so that those who cannot do are not even read.
  void narrow() {
    const Ask& ask = placing_.ask;
    demand_.forbidden_traits.emplace_back(kDisabledTrait);
    if (ask.zone == kDefaultZone)
      exclude(uuids([&](const Aggregate& a) { return names_zone(a) && !is_in_zone(a, ask.zone); }), {});
    else if (!ask.zone.empty())
      demand_.member_of.push_back(uuids([&](const Aggregate& a) { return is_in_zone(a, ask.zone); }));
    for (const auto& [key, asked] : ask.extra_specs)
      demand_.member_of.push_back(
          uuids([&](const Aggregate& a) { return aggregate_matches(a, key, asked); }));
    exclude(uuids(is_kept), uuids([&](const Aggregate& a) { return is_kept_for(a, ask.project_id); }));
    auto only = ask.only_hosts;
    if (ask.host.empty()) {
      for (const auto& group : demand_.member_of)
        if (const auto few = few_members(group)) keep_common(only, *few);
    } else {
      only.emplace();
      for (const auto& row : tx_.query("SELECT id FROM hosts WHERE hostname = ?", ask.host))
        only->insert(row.text(0));
    }
    if (only) demand_.only.emplace(only->begin(), only->end());
  }

  /// The hosts of these aggregates, if they are so few that it is quicker to look at each of them than to
  /// come across them.
  std::optional<std::set<std::string>> few_members(const std::vector<std::string>& uuids) const {
    constexpr size_t kFew = 200;
    std::set<std::string> hosts;
    for (const auto& a : aggregates_) {
      if (std::find(uuids.begin(), uuids.end(), a.uuid) == uuids.end()) continue;
      for (const auto& row :
           tx_.query(fmt::format("SELECT host_id FROM aggregate_hosts WHERE aggregate_number = ? LIMIT {}",
                                 kFew + 1),
                     a.number))
        hosts.insert(row.text(0));
      if (hosts.size() > kFew) return std::nullopt;
    }
    return hosts;
  }

  void exclude(std::vector<std::string> members_of, std::vector<std::string> unless_in) {
    if (!members_of.empty()) demand_.exclusions.push_back({std::move(members_of), std::move(unless_in)});
  }

  std::vector<placement::Candidate> survey() {
    auto everybody = demand_;
    // Nobody is asked for: then the reason is what asks for nobody, and each host has it.
    if (everybody.only && everybody.only->empty()) everybody.only.reset();
    return core_.placement.survey(tx_, everybody);
  }

  /// A group that wishes to be together: where its members are already, if anybody there has room.
  bool among_members() {
    auto demand = demand_;
    std::vector<std::string> there;
    for (const auto& [host, members] : placing_.ask.members)
      if (!demand.only || std::find(demand.only->begin(), demand.only->end(), host) != demand.only->end())
        there.push_back(host);
    demand.only = std::move(there);
    return page_by_page(demand);
  }

  bool page_by_page(placement::Demand demand) {
    auto some = core_.placement.some_of_equals(tx_, demand, kFirstPage);
    if (!some.empty() && judge(some, host_states(&some), false) == Outcome::taken) return true;
    std::optional<placement::Candidate> last;
    std::vector<placement::Candidate> held;  // a page whose best were all held by others
    for (size_t limit = kFirstPage;;) {
      auto page = core_.placement.candidates(tx_, demand, limit, last ? &*last : nullptr);
      const bool more = page.size() == limit;
      const auto outcome = judge(page, host_states(&page), !more || !held.empty());
      if (outcome == Outcome::taken) return true;
      if (!more || !held.empty()) break;
      last = page.back();
      if (outcome == Outcome::held) {
        held = std::move(page);
        continue;
      }
      if (limit == kFirstPage) keep_to_those_up(demand);
      limit *= kNextPages;
    }
    return !held.empty() && judge(held, host_states(&held), true) == Outcome::taken;
  }

  /// Of a whole page nobody would do: after an outage of nearly all hosts a walk would pass by all that are down, so only
  /// the few that are up are asked for from here on.
  void keep_to_those_up(placement::Demand& demand) const {
    auto up = core_.few_up(tx_, kFewUp);
    if (!up) return;
    if (demand.only)
      std::erase_if(*demand.only, [&](const std::string& host) { return !up->contains(host); });
    else
      demand.only.emplace(up->begin(), up->end());
  }

  enum class Outcome { taken, held, none };
  /// Takes the best, or the next if that has filled up meanwhile; waits for it if others hold it, or not (`held`).
  Outcome judge(std::vector<placement::Candidate>& candidates, const HostStates& hosts, bool wait) {
    while (true) {
      auto& choice = placed_.choice = filter(candidates, hosts, placing_.ask);
      core_.placement.add_rooms(tx_, candidates, choice.passing);
      const auto best = weigh(candidates, choice.passing, placing_.ask);
      if (best.empty()) return Outcome::none;
      auto held = hold_free(candidates, best);
      if (!held && !wait) return Outcome::held;
      if (!held) held = hold(candidates, best);
      choice.candidate = held->candidate;
      auto& candidate = candidates[held->candidate];
      const std::string why = take(candidate, hosts.at(candidate.provider_id), held->zone);
      if (why.empty()) return Outcome::taken;
      candidate.shortages.push_back({why, ""});
    }
  }

  /// A host whose row is locked, with its zone as it is now: on engines that run writers at once, an aggregate may have
  /// changed since it was chosen. The host's row is locked before what is free there, always.
  struct Held {
    size_t candidate;
    std::optional<std::string> zone;  ///< none: it is no host any more
  };

  /// Of equals one whose row nobody else holds, or boots at the same time would all wait for the first, one for the
  /// commit of the other. Nothing if others hold all.
  std::optional<Held> hold_free(const std::vector<placement::Candidate>& candidates, const std::vector<size_t>& equals) {
    if (tx_.dialect() != db::Dialect::mariadb) return hold(candidates, equals);
    std::vector<db::Value> ids;
    for (const size_t i : equals) ids.emplace_back(candidates[i].provider_id);
    const auto row =
        tx_.first(fmt::format("SELECT id, zone FROM hosts WHERE id IN ({}) LIMIT 1 FOR UPDATE SKIP LOCKED", db::placeholders(ids.size())), ids);
    if (!row) return std::nullopt;
    const auto at = std::find_if(equals.begin(), equals.end(), [&](size_t i) { return candidates[i].provider_id == row->view(0); });
    return Held{*at, row->text(1)};
  }

  /// One of them, whoever holds it; which one differs from boot to boot where writers run at once.
  Held hold(const std::vector<placement::Candidate>& candidates, const std::vector<size_t>& equals) {
    const bool alone = tx_.dialect() != db::Dialect::mariadb;
    const size_t chosen = equals[alone ? 0 : std::hash<std::string>()(placing_.server_id) % equals.size()];
    const auto row = tx_.first(fmt::format("SELECT zone FROM hosts WHERE id = ?{}", db::for_update(tx_)), candidates[chosen].provider_id);
    return {chosen, row ? std::optional(row->text(0)) : std::nullopt};
  }

  /// "" if it was taken, else why not.
  std::string take(const placement::Candidate& candidate, const HostState& host, const std::optional<std::string>& zone) {
    if (!zone || (!placing_.ask.zone.empty() && *zone != placing_.ask.zone)) return "it left the availability zone just now";
    try {
      core_.placement.allocate(tx_, placing_.server_id, candidate.provider_id, placing_.demand.amounts,
                               placing_.project_id, placing_.user_id);
    } catch (const Fault& fault) {
      if (fault.kind != FaultKind::conflict) throw;
      core_.placement.release(tx_, placing_.server_id);
      return fault.message;
    }
    placed_.host_id = host.id;
    placed_.hostname = host.hostname;
    placed_.zone = *zone;
    return {};
  }

  /// Of these candidates; of all hosts, if null.
  HostStates host_states(const std::vector<placement::Candidate>* of) {
    HostStates all;
    const std::string hosts =
        "SELECT id, hostname, zone, disabled_reason, enabled, forced_down, last_seen, virt_type, link_minor FROM hosts";
    const std::string members = "SELECT host_id, aggregate_number FROM aggregate_hosts";
    if (!of) {
      for (const auto& row : tx_.query(hosts)) add_host(core_, row, all);
      if (needs_aggregates_) add_members(tx_.query(members), all);
      return all;
    }
    constexpr size_t kPiece = 500;
    for (size_t from = 0; from < of->size(); from += kPiece) {
      std::vector<db::Value> ids;
      for (size_t i = from; i < std::min(of->size(), from + kPiece); ++i)
        ids.emplace_back((*of)[i].provider_id);
      const std::string marks = "(" + db::placeholders(ids.size()) + ")";
      for (const auto& row : tx_.query(hosts + " WHERE id IN " + marks, ids)) add_host(core_, row, all);
      if (needs_aggregates_) add_members(tx_.query(members + " WHERE host_id IN " + marks, ids), all);
    }
    return all;
  }

  void add_members(const db::Rows& rows, HostStates& all) const {
    for (const auto& row : rows) {
      const auto host = all.find(row.text(0));
      const auto aggregate = by_number_.find(row.integer(1));
      if (host != all.end() && aggregate != by_number_.end())
        host->second.aggregates.push_back(aggregate->second);
    }
  }

  Core& core_;
  db::Tx& tx_;
  const Placing& placing_;
  std::vector<Aggregate> aggregates_;
  std::map<int64_t, const Aggregate*> by_number_;
  bool needs_aggregates_ = false;
  placement::Demand demand_;
  Placed placed_;
};

void ask_trait(std::string_view trait, std::string_view how, placement::Demand& demand) {
  if (how == "required") demand.required_traits.emplace_back(trait);
  if (how == "forbidden") demand.forbidden_traits.emplace_back(trait);
}

std::set<std::string> hosts_of(db::Tx& tx, const std::vector<std::string>& servers) {
  std::set<std::string> hosts;
  for (const auto& id : servers)
    if (const auto row =
            tx.first("SELECT host_id FROM servers WHERE id = ? AND deleted = 0 AND host_id <> ''", id))
      hosts.insert(row->text(0));
  return hosts;
}

}  // namespace

void ask_flavor(const Flavor& flavor, Placing& placing) {
  auto& demand = placing.demand;
  demand.amounts = {{"VCPU", flavor.vcpus},
                    {"MEMORY_MB", flavor.memory_mb},
                    {"DISK_GB", flavor.root_gb + flavor.ephemeral_gb + (flavor.swap_mb + 1023) / 1024}};
  for (const auto& [key, value] : flavor.extra_specs) {
    const std::string_view name(key);
    const size_t colon = name.find(':');
    if (colon == name.npos || !value.is_string()) continue;
    const std::string_view scope = name.substr(0, colon), rest = name.substr(colon + 1);
    const std::string text = str(value);
    if (scope == "trait") ask_trait(rest, text, demand);
    if (scope == "aggregate_instance_extra_specs") placing.ask.extra_specs[std::string(rest)] = text;
    int64_t amount = 0;
    if (scope == "resources" &&
        std::from_chars(text.data(), text.data() + text.size(), amount).ec == std::errc() && amount >= 0)
      demand.amounts[std::string(rest)] = amount;
  }
}

void ask_image(const json::object& properties, Placing& placing) {
  constexpr std::string_view kTrait = "trait:";
  for (const auto& [key, value] : properties)
    if (std::string_view(key).starts_with(kTrait) && value.is_string() && value.get_string() == "required")
      ask_trait(std::string_view(key).substr(kTrait.size()), "required", placing.demand);
}

namespace {

struct Group {
  std::string project_id, policy;
  int64_t most = 1;                        ///< of its members on one host, if it keeps them apart
  std::map<std::string, int64_t> members;  ///< by host id; "" = on none
};

std::optional<Group> find_group(db::Tx& tx, const std::string& id, const std::string& except_server) {
  const auto row = tx.first("SELECT policy, project_id, rules FROM server_groups WHERE id = ?", id);
  if (!row) return std::nullopt;
  Group group{row->text(1), row->text(0), 1, {}};
  if (const std::string rules = row->text(2); !rules.empty()) group.most = find_int(parse_json(rules).as_object(), "max_server_per_host", 1);
  for (const auto& host : tx.query("SELECT host_id, COUNT(*) FROM servers WHERE group_id = ? AND deleted = 0 AND id <> ? GROUP BY host_id",
                                   id, except_server))
    group.members[host.text(0)] = host.integer(1);
  return group;
}

void ask(const Group& group, Ask& ask) {
  std::set<std::string> hosts;
  for (const auto& [host, n] : group.members) {
    if (host.empty()) continue;
    hosts.insert(host);
    ask.members[host] = n;
    if (group.policy == "anti-affinity" && n >= group.most) ask.never_hosts.insert(host);
  }
  if (group.policy == "affinity" && !hosts.empty()) keep_common(ask.only_hosts, hosts);
  if (group.policy == "soft-affinity") ask.wish = Ask::Wish::together;
  if (group.policy == "soft-anti-affinity") ask.wish = Ask::Wish::apart;
}

}  // namespace

void ask_group(Core& core, db::Tx& tx, const api::Call& call, const std::string& id, Ask& wanted) {
  tx.exec("UPDATE server_groups SET name = name WHERE id = ?", id);
  const auto group = find_group(tx, id, "");
  if (!group || (group->project_id != call.caller().project_id && !call.caller().is_admin()))
    throw Fault(FaultKind::bad_request, fmt::format("Instance group {} could not be found.", id));
  int64_t count = 0;
  for (const auto& [host, n] : group->members) count += n;
  const int64_t limit = quota_limits(core, tx, call.caller().project_id).at("server_group_members");
  if (limit >= 0 && count >= limit)
    throw Fault(FaultKind::forbidden, "Quota exceeded, too many servers in group");
  ask(*group, wanted);
}

Placing placing_of_server(db::Tx& tx, const ServerRow& row, const Flavor& flavor, const std::string& host) {
  Placing placing;
  ask_flavor(flavor, placing);
  placing.server_id = row.id;
  placing.project_id = placing.ask.project_id = row.project_id;
  placing.user_id = row.user_id;
  placing.ask.zone = host.empty() ? row.zone : "";
  placing.ask.host = host;
  placing.ask.never_hosts = hosts_with_remains(tx, row.id);
  if (!row.group_id.empty()) {
    tx.exec("UPDATE server_groups SET name = name WHERE id = ?", row.group_id);
    if (const auto group = find_group(tx, row.group_id, row.id)) ask(*group, placing.ask);
  }
  return placing;
}

void ask_hints(db::Tx& tx, const std::vector<std::string>& same_host,
               const std::vector<std::string>& different_host, Ask& ask) {
  if (!same_host.empty()) keep_common(ask.only_hosts, hosts_of(tx, same_host));
  for (const auto& host : hosts_of(tx, different_host)) ask.never_hosts.insert(host);
}

Placed place(Core& core, db::Tx& tx, const Placing& placing) {
  return Search(core, tx, placing).run();
}

Choice why_not(Core& core, db::Tx& tx, const Placing& placing) {
  return Search(core, tx, placing).why_not();
}

}  // namespace virga::compute
