// Frontend and SQL of host aggregates. Each write locks the aggregate's row first, then those of the hosts it
// is about, and reads after that: so two writers never agree on different zones for one host, on engines that
// run them at once.

#include "compute/aggregates.h"

#include <algorithm>

#include "compute/servers.h"

namespace virga::compute {
namespace {

Fault bad(std::string message, std::string hint = {}) {
  return Fault(FaultKind::bad_request, std::move(message), std::move(hint));
}

Fault invalid(std::string_view field, std::string_view value, std::string_view why) {
  return bad(fmt::format("Invalid input for field/attribute {}. Value: {}. {}", field, value, why));
}

Fault no_aggregate(const std::string& id) {
  return Fault(FaultKind::not_found, fmt::format("Aggregate {} could not be found.", id));
}

// ---- SQL

Aggregate aggregate_from(const db::Row& r) {
  Aggregate a;
  a.number = r.integer(0);
  a.uuid = r.text(1);
  a.name = r.text(2);
  a.created_at = r.text(3);
  a.updated_at = r.maybe_text(4);
  return a;
}
constexpr std::string_view kAggregate = "SELECT number, uuid, name, created_at, updated_at FROM aggregates";

/// `of`: SQL condition on aggregate_number, or "".
void add_metadata(db::Tx& tx, std::vector<Aggregate>& all, std::string_view of,
                  const std::vector<db::Value>& values) {
  std::map<int64_t, Aggregate*> by_number;
  for (auto& a : all) by_number[a.number] = &a;
  for (const auto& row :
       tx.query(fmt::format("SELECT aggregate_number, name, value FROM aggregate_metadata{}", of), values))
    if (const auto it = by_number.find(row.integer(0)); it != by_number.end())
      it->second->metadata[row.text(1)] = row.text(2);
}

void add_hosts(db::Tx& tx, std::vector<Aggregate>& all, std::string_view of,
               const std::vector<db::Value>& values) {
  std::map<int64_t, Aggregate*> by_number;
  for (auto& a : all) by_number[a.number] = &a;
  for (const auto& row :
       tx.query(fmt::format("SELECT aggregate_number, hostname FROM aggregate_hosts JOIN hosts "
                            "ON hosts.id = aggregate_hosts.host_id{} ORDER BY hosts.number",
                            of),
                values))
    if (const auto it = by_number.find(row.integer(0)); it != by_number.end())
      it->second->hosts.push_back(row.text(1));
}

}  // namespace

Aggregate need_aggregate(db::Tx& tx, const std::string& id) {
  const auto row = tx.first(fmt::format("{} WHERE number = ?", kAggregate), id);
  if (!row) throw no_aggregate(id);
  std::vector<Aggregate> one{aggregate_from(*row)};
  add_metadata(tx, one, " WHERE aggregate_number = ?", {one.front().number});
  add_hosts(tx, one, " WHERE aggregate_number = ?", {one.front().number});
  return std::move(one.front());
}

namespace {

bool lock_aggregate(db::Tx& tx, const std::string& id) {
  return tx.exec("UPDATE aggregates SET name = name WHERE number = ?", id) == 1;
}

void need_lock(db::Tx& tx, const std::string& id) {
  if (!lock_aggregate(tx, id)) throw no_aggregate(id);
}

std::vector<std::string> lock_hosts_of(db::Tx& tx, const std::string& aggregate) {
  std::vector<std::string> ids;
  for (const auto& row :
       tx.query(fmt::format("SELECT id FROM hosts WHERE id IN (SELECT host_id FROM aggregate_hosts WHERE "
                            "aggregate_number = ?) ORDER BY id{}",
                            db::for_update(tx)),
                aggregate))
    ids.push_back(row.text(0));
  return ids;
}

void put_metadata(db::Tx& tx, int64_t aggregate, const std::string& name, const std::string& value) {
  if (tx.exec("UPDATE aggregate_metadata SET value = ? WHERE aggregate_number = ? AND name = ?", value,
              aggregate, name) == 0)
    tx.exec("INSERT INTO aggregate_metadata (aggregate_number, name, value) VALUES (?, ?, ?)", aggregate,
            name, value);
}

void touch(Core& core, db::Tx& tx, int64_t aggregate) {
  tx.exec("UPDATE aggregates SET updated_at = ? WHERE number = ?", core.clock.now(), aggregate);
}

// ---- rules

void need_free_name(db::Tx& tx, const std::string& name, int64_t but) {
  if (tx.first("SELECT number FROM aggregates WHERE name = ? AND number <> ?", name, but))
    throw Fault(FaultKind::conflict, fmt::format("Aggregate {} already exists.", name));
}

/// Why the hosts of an aggregate cannot be in this zone, in nova's words; "" if they can. `one_host`: "" =
/// all it has.
std::string zone_refusal(db::Tx& tx, const Aggregate& a, const std::string& zone, const std::string& one_host,
                         bool may_hold_servers) {
  if (zone.empty()) return fmt::format("Aggregate {} does not support empty named availability zone", a.name);
  const std::string these =
      one_host.empty() ? "IN (SELECT host_id FROM aggregate_hosts WHERE aggregate_number = ?)" : "= ?";
  const db::Value whose = one_host.empty() ? db::Value(a.number) : db::Value(one_host);
  std::string others;
  for (const auto& row :
       tx.query("SELECT m.aggregate_number, m.value FROM aggregate_metadata m WHERE m.name = ? AND "
                "m.aggregate_number <> ? AND m.value <> ? AND EXISTS (SELECT 1 FROM aggregate_hosts h "
                "WHERE h.aggregate_number = m.aggregate_number AND h.host_id " +
                    these + ") ORDER BY 1",
                std::vector<db::Value>{kZoneKey, a.number, zone, whose}))
    others += fmt::format("{}'{}'", others.empty() ? "" : ", ", row.text(1));
  if (!others.empty()) return fmt::format("One or more hosts already in availability zone(s) [{}]", others);
  const auto now = a.metadata.find(std::string(kZoneKey));
  if (may_hold_servers || (now != a.metadata.end() && now->second == zone)) return {};
  if (tx.first("SELECT id FROM servers WHERE deleted = 0 AND host_id " + these + " LIMIT 1",
               std::vector<db::Value>{whose}))
    return "One or more hosts contain instances in this zone";
  return {};
}

void change_zone(Core& core, db::Tx& tx, const Aggregate& a, const std::string& zone,
                 const std::vector<std::string>& hosts, std::string_view action) {
  const std::string why = zone_refusal(tx, a, zone, "", false);
  if (!why.empty())
    throw bad(fmt::format("Cannot {} aggregate {}. Reason: {}.", action, a.number, why),
              "A zone changes while its hosts have no servers: delete those, or take the host out of the "
              "aggregate first.");
  put_metadata(tx, a.number, std::string(kZoneKey), zone);
  for (const auto& host : hosts) follow_aggregates(core, tx, host);
}

// ---- bodies

const json::object& only_member(api::Call& call, std::string_view key) {
  for (const auto& [name, value] : call.body())
    if (name != key)
      throw bad(
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(name)));
  return call.body_of(key);
}

void check_printable(std::string_view field, std::string_view text, bool is_zone) {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::any_of(text.begin(), text.end(), control) || (is_zone && text.find(':') != text.npos))
    throw invalid(field, text,
                  is_zone ? "It must be printable characters except :." : "It must be printable characters.");
}

std::string parse_zone(const json::object& in) {
  if (!has_value(in, kZoneKey)) return {};
  const std::string zone = parse_name(in, kZoneKey);
  check_printable(kZoneKey, zone, true);
  return zone;
}

std::string parse_host(const json::value& arguments, std::string_view action) {
  const auto* in = arguments.if_object();
  if (!in) throw invalid(action, json::serialize(arguments), "It is not of type 'object'.");
  for (const auto& [name, value] : *in)
    if (name != "host")
      throw bad(fmt::format(
          "Invalid input for field/attribute {}. Additional properties are not allowed ('{}' was unexpected)",
          action, std::string_view(name)));
  const std::string host = find_string(*in, "host");
  const auto allowed = [](char c) {
    return isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  };
  if (host.empty() || host.size() > 255 || !std::all_of(host.begin(), host.end(), allowed))
    throw invalid("host", host, "It does not match '^[a-zA-Z0-9-._]*$' with 1 to 255 characters.");
  return host;
}

using NewMetadata = std::map<std::string, std::optional<std::string>>;  ///< null takes a key away

NewMetadata parse_new_metadata(const json::value& arguments) {
  const auto* in = arguments.if_object();
  const auto* items = in ? find_object(*in, "metadata") : nullptr;
  if (!items || in->size() != 1)
    throw invalid("set_metadata", json::serialize(arguments),
                  "'metadata' is a required property, and the only one.");
  NewMetadata out;
  for (const auto& [key, value] : *items) {
    const std::string name(key);
    const auto allowed = [](char c) {
      return isalnum(static_cast<unsigned char>(c)) ||
             std::string_view("-_:. ").find(c) != std::string_view::npos;
    };
    if (name.empty() || name.size() > 255 || !std::all_of(name.begin(), name.end(), allowed))
      throw bad(
          fmt::format("Invalid input for field/attribute metadata. Value: {}. '{}' does not match "
                      "'^[a-zA-Z0-9-_:. ]{{1,255}}$'",
                      json::serialize(*items), name));
    if (!value.is_null() && (!value.is_string() || value.get_string().size() > 255))
      throw invalid(name, json::serialize(value), "It must be null, or text of at most 255 characters.");
    out[name] = value.is_null() ? std::nullopt : std::optional(str(value));
  }
  return out;
}

}  // namespace

std::string aggregate_id(const api::Call& call) {
  const std::string id = call.param("id");
  const bool number = !id.empty() && id.size() < 19 &&
                      std::all_of(id.begin(), id.end(), [](unsigned char c) { return isdigit(c); });
  if (!number) throw bad("Invalid input received: id must be an integer");
  return id;
}

namespace {

// ---- views

json::value iso(const std::optional<std::string>& db_time) {
  return db_time ? json::value(to_iso_us_no_zone(parse_time(*db_time))) : json::value(nullptr);
}

json::object view_of(const api::Call& call, const Aggregate& a) {
  json::object metadata;
  for (const auto& [name, value] : a.metadata) metadata[name] = value;
  const auto zone = a.metadata.find(std::string(kZoneKey));
  json::object view{
      {"id", a.number},
      {"name", a.name},
      {"availability_zone", zone == a.metadata.end() ? json::value(nullptr) : json::value(zone->second)},
      {"hosts", json::array(a.hosts.begin(), a.hosts.end())},
      {"metadata", std::move(metadata)},
      {"created_at", iso(a.created_at)},
      {"updated_at", iso(a.updated_at)},
      {"deleted", false},
      {"deleted_at", nullptr}};
  if (call.since(2, 41)) view["uuid"] = a.uuid;
  return view;
}

http::Response shown(const api::Call& call, const Aggregate& a) {
  return api::reply(200, json::object{{"aggregate", view_of(call, a)}});
}

// ---- handlers

using api::Set;

http::Response list(Core& core, api::Call& call) {
  json::array all;
  core.database.read([&](db::Tx& tx) {
    all.clear();
    auto aggregates = aggregates_without_hosts(tx);
    add_hosts(tx, aggregates, "", {});
    for (const auto& a : aggregates) all.push_back(view_of(call, a));
  });
  return api::reply(200, json::object{{"aggregates", std::move(all)}});
}

http::Response create(Core& core, api::Call& call) {
  static const api::Resource kResource{
      "aggregate",
      "aggregates",
      {{.name = "name", .create = Set::required, .min = 1, .max = 255},
       {.name = kZoneKey, .create = Set::optional, .nullable = true, .min = 1, .max = 255}}};
  const auto in = api::validate_create(kResource, only_member(call, "aggregate"), call.version);
  const std::string name = parse_name(in, "name"), zone = parse_zone(in), uuid = new_uuid();
  check_printable("name", name, false);
  const auto made = core.database.write([&](db::Tx& tx) {
    const int64_t number = next_number(tx, "aggregate");
    need_free_name(tx, name, number);
    tx.exec("INSERT INTO aggregates (number, uuid, name, created_at) VALUES (?, ?, ?, ?)", number, uuid, name,
            core.clock.now());
    if (!zone.empty()) put_metadata(tx, number, std::string(kZoneKey), zone);
    return need_aggregate(tx, std::to_string(number));
  });
  auto view = view_of(call, made);
  view.erase("hosts");  // nova leaves both out here
  view.erase("metadata");
  return api::reply(200, json::object{{"aggregate", std::move(view)}});
}

http::Response show(Core& core, api::Call& call) {
  const std::string id = aggregate_id(call);
  return shown(call, core.database.read([&](db::Tx& tx) { return need_aggregate(tx, id); }));
}

http::Response update(Core& core, api::Call& call) {
  static const api::Resource kResource{
      "aggregate",
      "aggregates",
      {{.name = "name", .update = Set::optional, .min = 1, .max = 255},
       {.name = kZoneKey, .update = Set::optional, .nullable = true, .min = 1, .max = 255}}};
  const auto in = api::validate_update(kResource, only_member(call, "aggregate"), call.version);
  if (in.empty()) throw invalid("aggregate", "{}", "{} is not valid under any of the given schemas");
  std::string name = find_string(in, "name");
  name.erase(0, std::min(name.find_first_not_of(' '), name.size()));
  name.erase(name.find_last_not_of(' ') + 1);
  if (in.contains("name") && name.empty())
    throw invalid("name", find_string(in, "name"), "It must have a non space character.");
  check_printable("name", name, false);
  const std::string id = aggregate_id(call), zone = parse_zone(in);
  return shown(call, core.database.write([&](db::Tx& tx) {
    need_lock(tx, id);
    const auto hosts = lock_hosts_of(tx, id);
    const auto before = need_aggregate(tx, id);
    if (!name.empty()) {
      need_free_name(tx, name, before.number);
      tx.exec("UPDATE aggregates SET name = ? WHERE number = ?", name, before.number);
    }
    if (in.contains(kZoneKey)) change_zone(core, tx, before, zone, hosts, "update");
    touch(core, tx, before.number);
    return need_aggregate(tx, id);
  }));
}

http::Response erase(Core& core, api::Call& call) {
  const std::string id = aggregate_id(call);
  core.database.write([&](db::Tx& tx) {
    need_lock(tx, id);
    if (tx.first("SELECT host_id FROM aggregate_hosts WHERE aggregate_number = ? LIMIT 1", id))
      throw bad(fmt::format("Cannot remove host from aggregate {}. Reason: Host aggregate is not empty.", id),
                "Take its hosts out first: openstack aggregate remove host.");
    tx.exec("DELETE FROM aggregate_metadata WHERE aggregate_number = ?", id);
    tx.exec("DELETE FROM aggregates WHERE number = ?", id);
  });
  return api::reply(200);
}

/// The host's id, its row locked; "" if there is none of that name.
std::string lock_host(db::Tx& tx, const std::string& name) {
  const auto row =
      tx.first(fmt::format("SELECT id FROM hosts WHERE hostname = ?{}", db::for_update(tx)), name);
  return row ? row->text(0) : "";
}

http::Response add_host(Core& core, api::Call& call, const json::value& arguments) {
  const std::string id = aggregate_id(call), name = parse_host(arguments, "add_host");
  return shown(call, core.database.write([&](db::Tx& tx) {
    const bool known = lock_aggregate(tx, id);
    const std::string host = lock_host(tx, name);
    if (host.empty())
      throw Fault(FaultKind::not_found, fmt::format("Compute host {} could not be found.", name));
    if (!known) throw no_aggregate(id);
    const auto aggregate = need_aggregate(tx, id);
    const auto zone = aggregate.metadata.find(std::string(kZoneKey));
    if (zone != aggregate.metadata.end())
      if (const auto why = zone_refusal(tx, aggregate, zone->second, host, true); !why.empty())
        throw Fault(FaultKind::conflict, fmt::format("Cannot add host to aggregate {}. Reason: {}.", id, why),
                    "A host is in one zone: take it out of the other aggregate first.");
    if (tx.first("SELECT host_id FROM aggregate_hosts WHERE aggregate_number = ? AND host_id = ?", id, host))
      throw Fault(FaultKind::conflict, fmt::format("Aggregate {} already has host {}.", id, name));
    tx.exec("INSERT INTO aggregate_hosts (aggregate_number, host_id) VALUES (?, ?)", aggregate.number, host);
    follow_aggregates(core, tx, host);
    return need_aggregate(tx, id);
  }));
}

http::Response remove_host(Core& core, api::Call& call, const json::value& arguments) {
  const std::string id = aggregate_id(call), name = parse_host(arguments, "remove_host");
  return shown(call, core.database.write([&](db::Tx& tx) {
    const bool known = lock_aggregate(tx, id);
    const std::string host = lock_host(tx, name);
    if (!known ||
        tx.exec("DELETE FROM aggregate_hosts WHERE aggregate_number = ? AND host_id = ?", id, host) == 0)
      throw Fault(FaultKind::not_found, fmt::format("Cannot remove host {} in aggregate {}", name, id));
    const auto aggregate = need_aggregate(tx, id);
    core.placement.set_member(tx, host, aggregate.uuid, false);
    follow_aggregates(core, tx, host);
    return aggregate;
  }));
}

http::Response set_metadata(Core& core, api::Call& call, const json::value& arguments) {
  const std::string id = aggregate_id(call);
  const auto metadata = parse_new_metadata(arguments);
  return shown(call, core.database.write([&](db::Tx& tx) {
    need_lock(tx, id);
    const auto hosts = lock_hosts_of(tx, id);
    const auto before = need_aggregate(tx, id);
    for (const auto& [name, value] : metadata) {
      if (name == kZoneKey)
        change_zone(core, tx, before, value.value_or(""), hosts, "update metadata of");
      else if (value)
        put_metadata(tx, before.number, name, *value);
      else
        tx.exec("DELETE FROM aggregate_metadata WHERE aggregate_number = ? AND name = ?", before.number,
                name);
    }
    touch(core, tx, before.number);
    return need_aggregate(tx, id);
  }));
}

http::Response act(Core& core, api::Call& call) {
  struct Action {
    std::string_view name;
    http::Response (*act)(Core&, api::Call&, const json::value&);
  };
  static constexpr Action kActions[] = {
      {"add_host", add_host}, {"remove_host", remove_host}, {"set_metadata", set_metadata}};
  const auto& body = call.body();
  if (body.size() != 1) throw bad("The body must hold exactly one action.");
  for (const auto& action : kActions) {
    if (action.name != body.begin()->key()) continue;
    call.require(fmt::format("os_compute_api:os-aggregates:{}", action.name), own_target(call));
    return action.act(core, call, body.begin()->value());
  }
  throw bad(fmt::format("There is no such action: {}", std::string_view(body.begin()->key())));
}

}  // namespace

std::vector<Aggregate> aggregates_without_hosts(db::Tx& tx) {
  std::vector<Aggregate> all;
  for (const auto& row : tx.query(fmt::format("{} ORDER BY number", kAggregate)))
    all.push_back(aggregate_from(row));
  if (!all.empty()) add_metadata(tx, all, "", {});
  return all;
}

void follow_aggregates(Core& core, db::Tx& tx, const std::string& host) {
  std::string zone(kDefaultZone);
  for (const auto& row :
       tx.query("SELECT a.uuid, m.value FROM aggregate_hosts h JOIN aggregates a ON a.number = "
                "h.aggregate_number LEFT JOIN aggregate_metadata m ON m.aggregate_number = a.number AND "
                "m.name = ? WHERE h.host_id = ? ORDER BY a.number",
                kZoneKey, host)) {
    if (!row.is_null(1)) zone = row.text(1);
    core.placement.set_member(tx, host, row.text(0), true);
  }
  const auto now = tx.first("SELECT zone FROM hosts WHERE id = ?", host);
  if (!now || now->text(0) == zone) return;
  tx.exec("UPDATE hosts SET zone = ? WHERE id = ?", zone, host);
  tx.exec("UPDATE servers SET zone = ? WHERE host_id = ? AND deleted = 0", zone, host);
}

void add_aggregate_routes(Routes& routes, Core& core) {
  const auto add = [&](const char* method, const std::string& path, const char* rule,
                       http::Response (*handler)(Core&, api::Call&), api::Version min = {}) {
    routes.add(
        method, path, rule, [&core, handler](api::Call& call) { return handler(core, call); }, min);
  };
  add("GET", "/os-aggregates", "os-aggregates:index", list);
  add("POST", "/os-aggregates", "os-aggregates:create", create);
  add("GET", "/os-aggregates/{id}", "os-aggregates:show", show);
  add("PUT", "/os-aggregates/{id}", "os-aggregates:update", update);
  add("DELETE", "/os-aggregates/{id}", "os-aggregates:delete", erase);
  add("POST", "/os-aggregates/{id}/action", "os-aggregates:action", act);
}

}  // namespace virga::compute
