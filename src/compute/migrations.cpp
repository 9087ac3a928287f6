#include "compute/migrations.h"

#include "base/json.h"

namespace virga::compute {
namespace {

constexpr std::string_view kColumns =
    "id, uuid, server_id, kind, status, operation_id, source_host_id, source_host, dest_host_id, dest_host, source_disk, "
    "dest_disk, source_generation, old_flavor, new_flavor, old_flavor_number, new_flavor_number, cause, project_id, user_id, "
    "created_at, updated_at, dest_power, wish, memory_total, memory_processed, memory_remaining, disk_total, disk_processed, "
    "disk_remaining";
constexpr size_t kColumnCount = 30;
/// An evacuation's row only tells of it: nothing waits for its end.
constexpr std::string_view kOver = "('confirmed', 'reverted', 'error', 'accepted', 'done', 'completed', 'cancelled')";

Migration from_row(const db::Row& row) {
  Migration m;
  m.id = row.integer(0);
  m.uuid = row.text(1);
  m.server_id = row.text(2);
  m.kind = row.text(3);
  m.status = row.text(4);
  m.operation_id = row.text(5);
  m.source_host_id = row.text(6);
  m.source_host = row.text(7);
  m.dest_host_id = row.text(8);
  m.dest_host = row.text(9);
  m.source_disk = row.integer(10);
  m.dest_disk = row.integer(11);
  m.source_generation = row.integer(12);
  m.old_flavor = row.text(13);
  m.new_flavor = row.text(14);
  m.old_flavor_number = row.integer(15);
  m.new_flavor_number = row.integer(16);
  m.cause = row.text(17);
  m.project_id = row.text(18);
  m.user_id = row.text(19);
  m.created_at = row.text(20);
  m.updated_at = row.text(21);
  m.dest_power = row.integer(22);
  m.wish = row.text(23);
  size_t column = 24;
  for (auto* transfer : {&m.progress.memory, &m.progress.disk})
    for (auto* bytes : {&transfer->total, &transfer->processed, &transfer->remaining}) *bytes = static_cast<uint64_t>(row.integer(column++));
  return m;
}

std::string select(std::string_view where) {
  return fmt::format("SELECT {} FROM server_migrations WHERE {}", kColumns, where);
}

std::optional<Migration> first(const std::optional<db::Row>& row) {
  if (!row) return std::nullopt;
  return from_row(*row);
}

}  // namespace

std::string to_text(const Flavor& f) {
  return json::serialize(json::object{{"id", f.id},
                                      {"name", f.name},
                                      {"vcpus", f.vcpus},
                                      {"memory_mb", f.memory_mb},
                                      {"root_gb", f.root_gb},
                                      {"ephemeral_gb", f.ephemeral_gb},
                                      {"swap_mb", f.swap_mb},
                                      {"extra_specs", f.extra_specs}});
}

Flavor flavor_from_text(const std::string& text) {
  const json::value value = parse_json(text);
  const auto& in = value.as_object();
  Flavor f;
  f.id = find_string(in, "id");
  f.name = find_string(in, "name");
  f.vcpus = find_int(in, "vcpus");
  f.memory_mb = find_int(in, "memory_mb");
  f.root_gb = find_int(in, "root_gb");
  f.ephemeral_gb = find_int(in, "ephemeral_gb");
  f.swap_mb = find_int(in, "swap_mb");
  if (const auto* specs = find_object(in, "extra_specs")) f.extra_specs = *specs;
  return f;
}

Flavor flavor_of(const ServerRow& row) {
  Flavor f;
  f.id = row.flavor_id;
  f.name = row.flavor_name;
  f.vcpus = row.vcpus;
  f.memory_mb = row.memory_mb;
  f.root_gb = row.root_gb;
  f.ephemeral_gb = row.ephemeral_gb;
  f.swap_mb = row.swap_mb;
  if (!row.extra_specs.empty()) f.extra_specs = parse_json(row.extra_specs).as_object();
  return f;
}

void put_flavor(ServerRow& row, const Flavor& f) {
  row.flavor_id = f.id;
  row.flavor_name = f.name;
  row.vcpus = f.vcpus;
  row.memory_mb = f.memory_mb;
  row.root_gb = f.root_gb;
  row.ephemeral_gb = f.ephemeral_gb;
  row.swap_mb = f.swap_mb;
  row.extra_specs = json::serialize(f.extra_specs);
}

int64_t flavor_number(db::Tx& tx, const std::string& id) {
  const auto row = tx.first("SELECT number FROM flavors WHERE id = ?", id);
  if (!row) return 0;
  if (row->integer(0)) return row->integer(0);
  // Of a flavor that is older than these numbers.
  const int64_t number = next_number(tx, "flavor");
  tx.exec("UPDATE flavors SET number = ? WHERE id = ?", number, id);
  return number;
}

Migration new_migration(db::Tx& tx, const ServerRow& row, std::string_view kind, Time now) {
  Migration m;
  m.id = next_number(tx, "migration");
  m.uuid = new_uuid();
  m.server_id = row.id;
  m.kind = kind;
  m.source_host_id = row.host_id;
  m.source_host = row.node;
  m.source_disk = row.disk_number;
  m.old_flavor = m.new_flavor = to_text(flavor_of(row));
  m.old_flavor_number = m.new_flavor_number = flavor_number(tx, row.flavor_id);
  m.project_id = row.project_id;
  m.user_id = row.user_id;
  m.created_at = m.updated_at = to_db(now);
  return m;
}

void insert_migration(db::Tx& tx, const Migration& m) {
  static const std::string sql =
      fmt::format("INSERT INTO server_migrations ({}) VALUES ({})", kColumns, db::placeholders(kColumnCount));
  tx.exec(sql, m.id, m.uuid, m.server_id, m.kind, m.status, m.operation_id, m.source_host_id, m.source_host, m.dest_host_id,
          m.dest_host, m.source_disk, m.dest_disk, m.source_generation, m.old_flavor, m.new_flavor, m.old_flavor_number,
          m.new_flavor_number, m.cause, m.project_id, m.user_id, m.created_at, m.updated_at, m.dest_power, m.wish, 0, 0, 0, 0, 0, 0);
}

std::optional<Migration> active_migration(db::Tx& tx, const std::string& server_id) {
  static const std::string sql = select(fmt::format("server_id = ? AND status NOT IN {} ORDER BY id DESC LIMIT 1", kOver));
  return first(tx.first(sql, server_id));
}

std::optional<Migration> find_migration(db::Tx& tx, const std::string& server_id, int64_t id) {
  return first(tx.first(select("server_id = ? AND id = ?"), server_id, id));
}

void set_migration_status(db::Tx& tx, int64_t id, std::string_view status, Time now, std::string_view cause) {
  tx.exec("UPDATE server_migrations SET status = ?, updated_at = ? WHERE id = ?", status, now, id);
  if (!cause.empty()) tx.exec("UPDATE server_migrations SET cause = ? WHERE id = ?", cause, id);
}

void save_migration_progress(db::Tx& tx, const Migration& m, Time now) {
  const auto number = [](uint64_t bytes) { return static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX)); };
  tx.exec("UPDATE server_migrations SET dest_power = ?, wish = ?, memory_total = ?, memory_processed = ?, memory_remaining = ?, "
          "disk_total = ?, disk_processed = ?, disk_remaining = ?, updated_at = ? WHERE id = ?",
          m.dest_power, m.wish, number(m.progress.memory.total), number(m.progress.memory.processed), number(m.progress.memory.remaining),
          number(m.progress.disk.total), number(m.progress.disk.processed), number(m.progress.disk.remaining), now, m.id);
}

namespace {
std::vector<Migration> migrations_at(db::Tx& tx, std::string_view end, const HostId& host, std::string_view kind) {
  std::vector<Migration> all;
  const std::string sql = select(fmt::format("{} = ? AND kind = ? AND status NOT IN {} ORDER BY id", end, kOver));
  for (const auto& row : tx.query(sql, host, kind)) all.push_back(from_row(row));
  return all;
}
}  // namespace

std::vector<Migration> migrations_to(db::Tx& tx, const HostId& host, std::string_view kind) {
  return migrations_at(tx, "dest_host_id", host, kind);
}

std::vector<Migration> migrations_from(db::Tx& tx, const HostId& host, std::string_view kind) {
  return migrations_at(tx, "source_host_id", host, kind);
}

void end_evacuation(db::Tx& tx, const OperationId& operation, const std::string& server_id, bool ok, Time now) {
  tx.exec("UPDATE server_migrations SET status = ?, updated_at = ? WHERE server_id = ? AND status = 'accepted' AND operation_id = ?",
          ok ? "done" : "error", now, server_id, operation);
}

std::vector<Migration> list_migrations(db::Tx& tx, const MigrationFilter& filter) {
  std::string where = "1 = 1";
  std::vector<db::Value> values;
  const auto add = [&](std::string_view condition, const std::string& value) {
    if (value.empty()) return;
    where += fmt::format(" AND {}", condition);
    values.emplace_back(value);
  };
  add("source_host = ?", filter.source);
  add("status = ?", filter.status);
  add("kind = ?", filter.kind);
  add("server_id = ?", filter.server_id);
  add("project_id = ?", filter.project_id);
  add("user_id = ?", filter.user_id);
  add("updated_at >= ?", filter.changes_since);
  add("updated_at <= ?", filter.changes_before);
  if (!filter.host.empty()) {
    add("(source_host = ?", filter.host);
    where += " OR dest_host = ?)";
    values.emplace_back(filter.host);
  }
  if (!filter.after_uuid.empty()) {
    const auto marker = tx.first("SELECT id FROM server_migrations WHERE uuid = ?", filter.after_uuid);
    if (!marker) throw Fault(FaultKind::bad_request, fmt::format("Marker {} could not be found.", filter.after_uuid));
    where += " AND id < ?";
    values.emplace_back(marker->integer(0));
  }
  values.emplace_back(filter.limit);
  std::vector<Migration> all;
  for (const auto& row : tx.query(select(where + " ORDER BY id DESC LIMIT ?"), values)) all.push_back(from_row(row));
  return all;
}

namespace {
constexpr std::string_view kKept =
    "m.source_host_id = ? AND m.status IN ('post-migrating', 'finished') AND s.host_id <> m.source_host_id AND s.deleted = 0";
}

std::vector<link::DesiredServer> kept_on(db::Tx& tx, const HostId& host) {
  std::vector<link::DesiredServer> all;
  for (const auto& row : tx.query(fmt::format("SELECT s.id, s.name, s.number, s.fence, m.source_generation, m.source_disk FROM "
                                              "server_migrations m JOIN servers s ON s.id = m.server_id WHERE {}", kKept),
                                  host)) {
    ServerRow named;
    named.number = row.integer(2);
    link::DesiredServer kept;
    kept.id = row.id<ServerId>(0);
    kept.name = row.text(1);
    kept.instance_name = named.instance_name();
    kept.state = link::DesiredServer::State::stopped;
    kept.fence = row.integer(3);
    kept.generation = row.integer(4);
    kept.disk = row.integer(5);
    all.push_back(std::move(kept));
  }
  return all;
}

bool is_kept_on(db::Tx& tx, const HostId& host, const std::string& server_id) {
  return tx.first(fmt::format("SELECT m.id FROM server_migrations m JOIN servers s ON s.id = m.server_id WHERE {} AND s.id = ?", kKept),
                  host, server_id)
      .has_value();
}

}  // namespace virga::compute
