// os-migrations: what has changed its host or size, and what is about to. (Compute API, "Migrations".)

#include <charconv>

#include "compute/migrations.h"
#include "compute/misc_routes.h"

namespace virga::compute {
namespace {

struct QueryKey {
  std::string_view name;
  std::string MigrationFilter::* member;
  api::Version since{};
};
constexpr QueryKey kKeys[] = {{"host", &MigrationFilter::host},
                              {"source_compute", &MigrationFilter::source},
                              {"status", &MigrationFilter::status},
                              {"migration_type", &MigrationFilter::kind},
                              {"instance_uuid", &MigrationFilter::server_id},
                              {"marker", &MigrationFilter::after_uuid, {2, 59}},
                              {"changes-since", &MigrationFilter::changes_since, {2, 59}},
                              {"changes-before", &MigrationFilter::changes_before, {2, 66}},
                              {"user_id", &MigrationFilter::user_id, {2, 80}},
                              {"project_id", &MigrationFilter::project_id, {2, 80}}};

int64_t parse_limit(const std::string& text) {
  int64_t limit = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (error != std::errc() || end != text.data() + text.size() || limit < 0)
    throw Fault(FaultKind::bad_request, fmt::format("Invalid input for query parameters limit. Value: {}.", text));
  return std::min<int64_t>(limit, 1000);
}

/// Unknown parameters are refused from 2.59 on, as nova does, and no filter before.
MigrationFilter parse_filter(const api::Call& call) {
  MigrationFilter filter;
  for (const auto& [name, value] : call.request.query) {
    const auto key = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const QueryKey& k) { return k.name == name; });
    if (key != std::end(kKeys) && call.since(key->since.major, key->since.minor)) {
      filter.*key->member = value;
    } else if (name == "limit" && call.since(2, 59)) {
      filter.limit = parse_limit(value);
    } else if (call.since(2, 59) && name != "hidden") {
      throw Fault(FaultKind::bad_request,
                  fmt::format("Invalid input for query parameters {}. Additional properties are not allowed ('{}' was unexpected)", name, name));
    }
  }
  for (auto* time : {&filter.changes_since, &filter.changes_before})
    if (!time->empty()) *time = to_db(parse_time(*time));
  return filter;
}

json::object view(const api::Call& call, const Migration& m) {
  const auto when = [](const std::string& db_text) { return to_iso_us_no_zone(parse_time(db_text)); };
  json::object out{{"id", m.id},
                   {"instance_uuid", m.server_id},
                   {"status", m.status},
                   {"source_node", m.source_host},
                   {"source_compute", m.source_host},
                   {"dest_node", m.dest_host},
                   {"dest_compute", m.dest_host},
                   {"dest_host", nullptr},
                   {"old_instance_type_id", m.old_flavor_number},
                   {"new_instance_type_id", m.new_flavor_number},
                   {"created_at", when(m.created_at)},
                   {"updated_at", when(m.updated_at)}};
  if (call.since(2, 23)) out["migration_type"] = m.kind;
  if (call.since(2, 59)) out["uuid"] = m.uuid;
  if (call.since(2, 80)) {
    out["user_id"] = m.user_id;
    out["project_id"] = m.project_id;
  }
  return out;
}

http::Response list(Core& core, api::Call& call) {
  MigrationFilter filter = parse_filter(call);
  const int64_t limit = filter.limit++;
  auto found = core.database.read([&](db::Tx& tx) { return list_migrations(tx, filter); });
  const bool more = static_cast<int64_t>(found.size()) > limit;
  if (more) found.resize(static_cast<size_t>(limit));
  json::array all;
  for (const auto& m : found) all.push_back(view(call, m));
  json::object body{{"migrations", std::move(all)}};
  if (more && !found.empty() && call.since(2, 59))
    body["migrations_links"] = json::array{json::object{{"rel", "next"}, {"href", api::next_url(call, found.back().uuid)}}};
  return api::reply(200, body);
}

}  // namespace

void add_migration_routes(Routes& routes, Core& core) {
  routes.add("GET", "/os-migrations", "os-migrations:index", [&core](api::Call& call) { return list(core, call); });
}

}  // namespace virga::compute
