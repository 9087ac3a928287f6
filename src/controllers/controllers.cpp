#include <unistd.h>

#include "base/ids.h"
#include "base/process.h"
#include "controllers/api.h"

namespace virga::controllers {
namespace {

constexpr std::chrono::hours kForgetAfter{24};

}  // namespace

void Controllers::beat() {
  database_.write([&](db::Tx& tx) {
    const Time now = db::database_now(tx);
    if (tx.exec("UPDATE controllers SET name = ?, version = ?, link_address = ?, api_address = ?, seen_at = ? WHERE id = ?",
                me_.name, me_.version, me_.link_address, me_.api_address, now, me_.id) > 0)
      return;
    tx.exec("INSERT INTO controllers (id, name, version, link_address, api_address, started_at, seen_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            me_.id, me_.name, me_.version, me_.link_address, me_.api_address, now, now);
  });
}

void Controllers::leave() {
  database_.write([&](db::Tx& tx) {
    tx.exec("UPDATE controllers SET seen_at = ? WHERE id = ?", db::database_now(tx) - kDeadAfter, me_.id);
    tx.exec("DELETE FROM leases WHERE holder = ? AND name <> ?", me_.id, kHomeLease);
    tx.exec("UPDATE hosts SET controller_id = '' WHERE controller_id = ?", me_.id);
  });
}

std::vector<Controller> Controllers::all(db::Tx& tx) const {
  const Time now = db::database_now(tx);
  const std::string dead = to_db(now - kDeadAfter);
  std::vector<Controller> all;
  for (const auto& r : tx.query("SELECT id, name, version, link_address, api_address, started_at, seen_at FROM controllers "
                                "WHERE seen_at > ? OR id = ? ORDER BY name, id",
                                now - kForgetAfter, me_.id)) {
    Controller c{r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.text(5), r.text(6)};
    c.alive = c.seen_at > dead || (c.id == me_.id && tx.dialect() == db::Dialect::sqlite);
    all.push_back(std::move(c));
  }
  return all;
}

std::string controller_id(const std::string& file) {
  if (access(file.c_str(), F_OK) != 0) write_file(file, new_uuid() + "\n", 0600);
  std::string id = read_file(file);
  while (!id.empty() && std::isspace(static_cast<unsigned char>(id.back()))) id.pop_back();
  if (!looks_like_uuid(id)) throw Fault(FaultKind::internal, fmt::format("{} holds no id.", file), "Remove the file: another id is made then.");
  return id;
}

bool take_lease(db::Tx& tx, std::string_view name, std::string_view holder, std::chrono::seconds duration) {
  const Time now = db::database_now(tx);
  if (tx.exec("UPDATE leases SET holder = ?, until = ? WHERE name = ? AND (holder = ? OR until < ?)", holder, now + duration, name,
              holder, now) > 0)
    return true;
  if (tx.first("SELECT holder FROM leases WHERE name = ?", name)) return false;
  tx.exec("INSERT INTO leases (name, holder, until) VALUES (?, ?, ?)", name, holder, now + duration);
  return true;
}

void give_lease(db::Tx& tx, std::string_view name, std::string_view holder) {
  tx.exec("DELETE FROM leases WHERE name = ? AND holder = ?", name, holder);
}

bool is_lease_known(db::Tx& tx, std::string_view name) { return tx.first("SELECT holder FROM leases WHERE name = ?", name).has_value(); }

std::string lease_holder(db::Tx& tx, std::string_view name) {
  const auto row = tx.first("SELECT holder FROM leases WHERE name = ? AND until >= ?", name, db::database_now(tx));
  return row ? row->text(0) : "";
}

}  // namespace virga::controllers
