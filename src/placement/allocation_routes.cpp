// Allocations by consumer, allocation candidates, and usages by project.

#include <charconv>
#include <numeric>

#include "base/text.h"
#include "placement/placement.h"

namespace virga::placement {

Amounts parse_resources(std::string_view text) {
  Amounts amounts;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const size_t colon = one.find(':');
    int64_t amount = 0;
    const auto digits = colon == std::string_view::npos ? std::string_view() : one.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), amount);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || amount < 1)
      throw Fault(
          FaultKind::bad_request,
          fmt::format("Badly formed resources parameter. Expected resources query string parameter in form: "
                      "?resources=VCPU:2,MEMORY_MB:1024. Got: {}.",
                      one));
    amounts[std::string(one.substr(0, colon))] = amount;
  }
  if (amounts.empty()) throw Fault(FaultKind::bad_request, "Badly formed resources parameter: it is empty.");
  return amounts;
}

namespace {

struct Wanted {
  std::map<std::string, Amounts> by_provider;
  std::string project_id = "00000000-0000-0000-0000-000000000000", user_id = project_id, type = "INSTANCE";
  bool checks_generation = false;
  std::optional<int64_t> generation;  ///< none = the consumer must be new
};

Fault bad(std::string_view why) {
  return Fault(FaultKind::bad_request, fmt::format("JSON does not validate: {}", why));
}

Amounts parse_amounts(const json::object& in) {
  const auto* resources = find_object(in, "resources");
  if (!resources || resources->empty()) throw bad("'resources' is a required property");
  Amounts amounts;
  for (const auto& [name, value] : *resources) {
    if (!value.is_int64() || value.get_int64() < 1)
      throw bad(fmt::format("amount of {} must be a positive integer", std::string(name)));
    amounts[std::string(name)] = value.get_int64();
  }
  return amounts;
}

void parse_providers(const api::Call& call, const json::object& body, Wanted& wanted) {
  if (const auto* list = find_array(body, "allocations"); list && !call.since(1, 12)) {
    for (const auto& one : *list) {
      const auto* provider = one.is_object() ? find_object(one.get_object(), "resource_provider") : nullptr;
      if (!provider) throw bad("'resource_provider' is a required property");
      wanted.by_provider[find_string(*provider, "uuid")] = parse_amounts(one.get_object());
    }
    return;
  }
  const auto* map = find_object(body, "allocations");
  if (!map || !call.since(1, 12)) throw bad("'allocations' is a required property");
  for (const auto& [uuid, one] : *map) {
    if (!one.is_object()) throw bad("an allocation is an object");
    wanted.by_provider[std::string(uuid)] = parse_amounts(one.get_object());
  }
}

Wanted parse_wanted(const api::Call& call, const json::object& body) {
  Wanted wanted;
  parse_providers(call, body, wanted);
  if (call.since(1, 8)) {
    for (const char* key : {"project_id", "user_id"})
      if (find_string(body, key).empty()) throw bad(fmt::format("'{}' is a required property", key));
    wanted.project_id = find_string(body, "project_id");
    wanted.user_id = find_string(body, "user_id");
  }
  if (call.since(1, 28)) {
    if (!body.contains("consumer_generation")) throw bad("'consumer_generation' is a required property");
    wanted.checks_generation = true;
    if (has_value(body, "consumer_generation")) wanted.generation = find_int(body, "consumer_generation", -1);
  }
  if (call.since(1, 38)) wanted.type = find_string(body, "consumer_type", "unknown");
  return wanted;
}

void write_consumer(db::Tx& tx, Time now, const std::string& uuid, const Wanted& wanted) {
  const auto consumer = find_consumer(tx, uuid);
  const auto conflict = [&] {
    return concurrent_update(fmt::format("consumer generation conflict - expected {} but got {}",
                                         consumer ? std::to_string(consumer->generation) : "null",
                                         wanted.generation ? std::to_string(*wanted.generation) : "null"));
  };
  if (wanted.checks_generation && consumer.has_value() != wanted.generation.has_value()) throw conflict();
  if (!consumer) {
    tx.exec(
        "INSERT INTO allocation_consumers (uuid, generation, project_id, user_id, consumer_type, created_at) "
        "VALUES (?, 1, ?, ?, ?, ?)",
        uuid, wanted.project_id, wanted.user_id, wanted.type, now);
    return;
  }
  if (tx.exec("UPDATE allocation_consumers SET generation = generation + 1, project_id = ?, user_id = ?, "
              "consumer_type = ? WHERE uuid = ? AND generation = ?",
              wanted.project_id, wanted.user_id, wanted.type, uuid,
              wanted.generation.value_or(consumer->generation)) == 0)
    throw conflict();
}

void write_allocations(db::Tx& tx, Time now, const std::string& uuid, const Wanted& wanted) {
  if (!wanted.by_provider.empty()) write_consumer(tx, now, uuid, wanted);
  give_back(tx, uuid);
  for (const auto& [provider, amounts] : wanted.by_provider) {
    if (!find_provider(tx, provider))
      throw Fault(FaultKind::bad_request,
                  fmt::format("Allocation for resource provider '{}' that does not exist.", provider));
    for (const auto& [name, amount] : amounts) {
      need_class(tx, name);
      take(tx, {Allocation{uuid, provider, name, amount}});
    }
    bump_generation(tx, now, provider, std::nullopt);
  }
  if (wanted.by_provider.empty()) drop_consumer(tx, uuid);
}

json::object consumer_view(db::Tx& tx, const api::Call& call, const std::string& uuid) {
  json::object by_provider;
  for (const auto& a : allocations_of(tx, uuid)) {
    auto& one = by_provider[a.provider];
    if (!one.is_object())
      one = {{"generation", need_provider(tx, a.provider).generation}, {"resources", json::object()}};
    one.as_object()["resources"].as_object()[a.resource_class] = a.amount;
  }
  json::object view{{"allocations", by_provider}};
  const auto consumer = find_consumer(tx, uuid);
  if (!consumer || by_provider.empty()) return view;
  if (call.since(1, 12)) {
    view["project_id"] = consumer->project_id;
    view["user_id"] = consumer->user_id;
  }
  if (call.since(1, 28)) view["consumer_generation"] = consumer->generation;
  if (call.since(1, 38)) view["consumer_type"] = consumer->type;
  return view;
}

json::object provider_allocations(db::Tx& tx, const std::string& uuid) {
  const auto provider = need_provider(tx, uuid);
  json::object all;
  for (const auto& row :
       tx.query("SELECT consumer_uuid, resource_class, amount FROM allocations WHERE provider_uuid = ? "
                "ORDER BY consumer_uuid",
                uuid)) {
    auto& one = all[row.text(0)];
    if (!one.is_object()) one = {{"resources", json::object()}};
    one.as_object()["resources"].as_object()[row.text(1)] = row.integer(2);
  }
  return {{"allocations", std::move(all)}, {"resource_provider_generation", provider.generation}};
}

json::value allocation_request(const api::Call& call, const Candidate& c, const Amounts& amounts) {
  json::object resources;
  for (const auto& [name, amount] : amounts) resources[name] = amount;
  if (!call.since(1, 12))
    return {{"allocations",
             {{{"resource_provider", {{"uuid", c.provider_id}}}, {"resources", std::move(resources)}}}}};
  json::object request{
      {"allocations", json::object{{c.provider_id, json::object{{"resources", std::move(resources)}}}}}};
  if (call.since(1, 34)) request["mappings"] = json::object{{"", json::array{json::value(c.provider_id)}}};
  return request;
}

json::object summary(db::Tx& tx, const api::Call& call, const Candidate& c, const Amounts& amounts) {
  json::object resources;
  for (const auto& [name, room] : c.rooms)
    if (call.since(1, 27) || amounts.count(name))
      resources[name] = {{"capacity", room.capacity}, {"used", room.used}};
  json::object view{{"resources", std::move(resources)}};
  if (call.since(1, 17)) {
    json::array traits;
    for (const auto& row :
         tx.query("SELECT trait FROM provider_traits WHERE provider_uuid = ?", c.provider_id))
      traits.push_back(json::value(row.text(0)));
    view["traits"] = std::move(traits);
  }
  if (call.since(1, 29)) {
    view["parent_provider_uuid"] = nullptr;
    view["root_provider_uuid"] = c.provider_id;
  }
  return view;
}

std::string need_query(const api::Call& call, std::string_view name) {
  if (auto value = call.request.query_value(name)) return *value;
  throw Fault(FaultKind::bad_request,
              fmt::format("Invalid query string parameters: '{}' is a required property", name));
}

[[noreturn]] void refuse_query(std::string_view name, std::string_view why) {
  throw Fault(FaultKind::bad_request, fmt::format("Invalid query string parameters: '{}' {}", name, why));
}

/// "T1,T2,!T3"; forbidden ones since 1.22.
void add_required(const api::Call& call, const std::string& text, Demand& demand) {
  for (auto& trait : split(text, ',')) {
    const bool forbidden = !trait.empty() && trait.front() == '!';
    if (forbidden && !call.since(1, 22)) refuse_query("required", "has a forbidden trait, which needs 1.22");
    if (forbidden) trait.erase(0, 1);
    if (trait.empty()) refuse_query("required", "has an empty trait");
    (forbidden ? demand.forbidden_traits : demand.required_traits).push_back(std::move(trait));
  }
}

/// "UUID", "in:UUID,UUID", and since 1.32 the same after "!".
void add_member_of(const api::Call& call, std::string text, Demand& demand) {
  const bool forbidden = text.starts_with('!');
  if (forbidden && !call.since(1, 32)) refuse_query("member_of", "has a forbidden aggregate, which needs 1.32");
  if (forbidden) text.erase(0, 1);
  if (text.starts_with("in:")) text.erase(0, 3);
  auto group = split(text, ',');
  for (const auto& uuid : group)
    if (!looks_like_uuid(uuid)) refuse_query("member_of", fmt::format("expects uuids, got: {}", uuid));
  if (forbidden)
    demand.exclusions.push_back({std::move(group), {}});
  else
    demand.member_of.push_back(std::move(group));
}

/// What a query of allocation candidates asks for. Groups with numbers (resources1) are for nested providers, which
/// this cloud has none of.
Demand parse_demand(const api::Call& call) {
  Demand demand;
  demand.amounts = parse_resources(need_query(call, "resources"));
  for (const auto& [name, value] : call.request.query) {
    if (name == "resources" || (name == "limit" && call.since(1, 16))) continue;
    if (name == "required" && call.since(1, 17))
      add_required(call, value, demand);
    else if (name == "member_of" && call.since(1, 21))
      add_member_of(call, value, demand);
    else if (name == "in_tree" && call.since(1, 31))
      demand.only = {value};
    else if (name != "group_policy" || !call.since(1, 25))
      refuse_query(name, "was unexpected");
  }
  return demand;
}

json::object project_usages(db::Tx& tx, const std::string& project, const std::optional<std::string>& user) {
  api::Where where;
  where.add("c.project_id = ?", project);
  if (user) where.add("c.user_id = ?", *user);
  json::object usages;
  for (const auto& row :
       tx.query("SELECT a.resource_class, SUM(a.amount) FROM allocations a JOIN allocation_consumers c "
                "ON c.uuid = a.consumer_uuid" +
                    where.sql() + " GROUP BY a.resource_class",
                where.values))
    usages[row.text(0)] = row.integer(1);
  return usages;
}

}  // namespace

void Module::add_allocation_routes() {
  route("GET", "/allocations/{consumer}", "allocations:list", [this](api::Call& call) {
    return api::reply(
        200, database_.read([&](db::Tx& tx) { return consumer_view(tx, call, call.param("consumer")); }));
  });
  route("PUT", "/allocations/{consumer}", "allocations:update", [this](api::Call& call) {
    if (!looks_like_uuid(call.param("consumer"))) throw bad("the consumer is no uuid");
    const auto wanted = parse_wanted(call, call.body());
    if (wanted.by_provider.empty() && !call.since(1, 28)) throw bad("'allocations' is too short");
    database_.write([&](db::Tx& tx) { write_allocations(tx, clock_.now(), call.param("consumer"), wanted); });
    return api::reply(204);
  });
  route("DELETE", "/allocations/{consumer}", "allocations:delete", [this](api::Call& call) {
    database_.write([&](db::Tx& tx) {
      if (allocations_of(tx, call.param("consumer")).empty())
        throw Fault(FaultKind::not_found,
                    fmt::format("No allocations for consumer '{}'", call.param("consumer")));
      release(tx, call.param("consumer"));
    });
    return api::reply(204);
  });
  route("POST", "/allocations", "allocations:manage",
        [this](api::Call& call) {
          std::map<std::string, Wanted> all;
          for (const auto& [uuid, one] : call.body()) {
            if (!one.is_object()) throw bad("an allocation is an object");
            all[std::string(uuid)] = parse_wanted(call, one.get_object());
          }
          database_.write([&](db::Tx& tx) {
            // What is given back in this request may be taken in it, so give back first.
            for (const auto& [uuid, wanted] : all) give_back(tx, uuid);
            for (const auto& [uuid, wanted] : all) write_allocations(tx, clock_.now(), uuid, wanted);
          });
          return api::reply(204);
        },
        {1, 13});
  route("GET", "/resource_providers/{uuid}/allocations", "resource_providers:allocations:list", [this](api::Call& call) {
    return api::reply(
        200, database_.read([&](db::Tx& tx) { return provider_allocations(tx, call.param("uuid")); }));
  });
  route("GET", "/allocation_candidates", "allocation_candidates:list",
        [this](api::Call& call) {
          const Demand demand = parse_demand(call);
          size_t limit = SIZE_MAX;
          if (const auto text = call.request.query_value("limit"); text && call.since(1, 16)) {
            limit = std::strtoul(text->c_str(), nullptr, 10);
            if (limit == 0)
              throw Fault(FaultKind::bad_request,
                          "Invalid query string parameters: 'limit' must be at least 1");
          }
          json::array requests;
          json::object summaries;
          database_.read([&](db::Tx& tx) {
            requests.clear();
            summaries.clear();
            for (const auto& [name, amount] : demand.amounts) need_class(tx, name);
            for (const auto* traits : {&demand.required_traits, &demand.forbidden_traits})
              for (const auto& trait : *traits) need_trait(tx, trait);
            auto found = candidates(tx, demand, limit, nullptr);
            std::vector<size_t> each(found.size());
            std::iota(each.begin(), each.end(), 0);
            add_rooms(tx, found, each);
            for (const auto& c : found) {
              requests.push_back(allocation_request(call, c, demand.amounts));
              summaries[c.provider_id] = summary(tx, call, c, demand.amounts);
            }
          });
          return api::reply(200, {{"allocation_requests", std::move(requests)},
                                  {"provider_summaries", std::move(summaries)}});
        },
        {1, 10});
  route("GET", "/usages", "usages",
        [this](api::Call& call) {
          const auto project = need_query(call, "project_id");
          call.require({{"project_id", project}});
          auto usages = database_.read(
              [&](db::Tx& tx) { return project_usages(tx, project, call.request.query_value("user_id")); });
          if (!call.since(1, 38)) return api::reply(200, {{"usages", std::move(usages)}});
          return api::reply(200, {{"usages", {{"INSTANCE", std::move(usages)}}}});
        },
        {1, 9});
}

}  // namespace virga::placement
