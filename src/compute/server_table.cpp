#include "compute/server_table.h"

#include "link/api.h"

#include <array>

namespace virga::compute {
namespace {

using Text = std::string ServerRow::*;
using MaybeText = std::optional<std::string> ServerRow::*;
using Integer = int64_t ServerRow::*;

struct Column {
  std::string_view name;
  std::variant<Text, MaybeText, Integer> member;
  ServerColumns in = ServerColumns::shown;  ///< the smallest set that has it
};

#define VIRGA_COLUMN(name)  \
  Column {                  \
#name, &ServerRow::name \
  }
#define VIRGA_COLUMN_IN(name, set)                  \
  Column {                                          \
#name, &ServerRow::name, ServerColumns::set \
  }
const Column kColumns[] = {VIRGA_COLUMN_IN(id, brief),
                           VIRGA_COLUMN(number),
                           VIRGA_COLUMN_IN(name, brief),
                           VIRGA_COLUMN(hostname),
                           VIRGA_COLUMN(project_id),
                           VIRGA_COLUMN(user_id),
                           VIRGA_COLUMN(description),
                           VIRGA_COLUMN(image_id),
                           VIRGA_COLUMN_IN(boot, shown_to_admin),
                           VIRGA_COLUMN(flavor_id),
                           VIRGA_COLUMN(flavor_name),
                           VIRGA_COLUMN(vcpus),
                           VIRGA_COLUMN(memory_mb),
                           VIRGA_COLUMN(root_gb),
                           VIRGA_COLUMN(ephemeral_gb),
                           VIRGA_COLUMN(swap_mb),
                           VIRGA_COLUMN(extra_specs),
                           VIRGA_COLUMN(key_name),
                           VIRGA_COLUMN_IN(key_type, all),
                           VIRGA_COLUMN_IN(public_key, all),
                           VIRGA_COLUMN_IN(user_data, shown_to_admin),
                           VIRGA_COLUMN_IN(guest_password, all),
                           VIRGA_COLUMN(config_drive),
                           VIRGA_COLUMN(disk_config),
                           VIRGA_COLUMN(access_ip_v4),
                           VIRGA_COLUMN(access_ip_v6),
                           VIRGA_COLUMN(zone),
                           VIRGA_COLUMN(host_id),
                           VIRGA_COLUMN(node),
                           VIRGA_COLUMN(reservation_id),
                           VIRGA_COLUMN(launch_index),
                           VIRGA_COLUMN(group_id),
                           VIRGA_COLUMN(locked_by),
                           VIRGA_COLUMN(locked_reason),
                           VIRGA_COLUMN(vm_state),
                           VIRGA_COLUMN(task_state),
                           VIRGA_COLUMN(power_state),
                           VIRGA_COLUMN_IN(desired_state, all),
                           VIRGA_COLUMN_IN(generation, all),
                           VIRGA_COLUMN_IN(fence, all),
                           VIRGA_COLUMN_IN(state_override, all),
                           VIRGA_COLUMN_IN(seen_power, all),
                           VIRGA_COLUMN_IN(seen_generation, all),
                           VIRGA_COLUMN_IN(failed_generation, all),
                           VIRGA_COLUMN_IN(failed_permanently, all),
                           VIRGA_COLUMN_IN(cause, all),
                           VIRGA_COLUMN_IN(hint, all),
                           VIRGA_COLUMN(fault_code),
                           VIRGA_COLUMN(fault_message),
                           VIRGA_COLUMN(fault_details),
                           VIRGA_COLUMN(fault_at),
                           VIRGA_COLUMN(created_at),
                           VIRGA_COLUMN(updated_at),
                           VIRGA_COLUMN(launched_at),
                           VIRGA_COLUMN(terminated_at),
                           VIRGA_COLUMN(deleted),
                           VIRGA_COLUMN_IN(tombstone, all),
                           VIRGA_COLUMN_IN(revision, all),
                           VIRGA_COLUMN_IN(move, all),
                           VIRGA_COLUMN_IN(placed_generation, all),
                           VIRGA_COLUMN_IN(disk_number, all),
                           VIRGA_COLUMN_IN(old_disk, all)};
#undef VIRGA_COLUMN
#undef VIRGA_COLUMN_IN

std::string marks_for_ids(const std::vector<ServerId>& ids, std::vector<db::Value>& values) {
  for (const auto& id : ids) values.emplace_back(id);
  return db::placeholders(ids.size());
}

/// Calls `each` with ids in pieces that any engine takes as parameters.
template <class F>
void in_pieces(const std::vector<ServerId>& ids, F each) {
  for (size_t from = 0; from < ids.size(); from += 500)
    each(std::vector<ServerId>(ids.begin() + from, ids.begin() + std::min(ids.size(), from + 500)));
}

}  // namespace

std::string ServerRow::instance_name() const {
  return fmt::format("instance-{:08x}", number);
}

void ServerRow::forget_observed() {
  seen_power = static_cast<int64_t>(link::Power::absent);
  seen_generation = failed_generation = failed_permanently = 0;
  cause.clear();
  hint.clear();
}

const std::string& server_columns(ServerColumns set) {
  static const auto texts = [] {
    std::array<std::string, 4> all;
    for (const auto& column : kColumns)
      for (size_t i = static_cast<size_t>(column.in); i < all.size(); ++i)
        all[i] += (all[i].empty() ? "" : ", ") + std::string(column.name);
    return all;
  }();
  return texts.at(static_cast<size_t>(set));
}

ServerRow server_from_row(const db::Row& row, ServerColumns set) {
  ServerRow s;
  size_t i = 0;
  for (const auto& column : kColumns) {
    if (column.in > set) continue;
    if (const auto* text = std::get_if<Text>(&column.member))
      s.** text = row.text(i);
    else if (const auto* maybe = std::get_if<MaybeText>(&column.member))
      s.** maybe = row.maybe_text(i);
    else
      s.*std::get<Integer>(column.member) = row.integer(i);
    ++i;
  }
  return s;
}

void insert_server(db::Tx& tx, const ServerRow& row) {
  static const std::string sql = fmt::format("INSERT INTO servers ({}) VALUES ({})", server_columns(),
                                             db::placeholders(std::size(kColumns)));
  std::vector<db::Value> values;
  values.reserve(std::size(kColumns));
  for (const auto& column : kColumns)
    std::visit([&](auto member) { values.emplace_back(row.*member); }, column.member);
  tx.exec(sql, values);
}

namespace {

std::optional<ServerRow> read_server(db::Tx& tx, const ServerId& id, std::string_view lock) {
  if (const auto row = tx.first(fmt::format("SELECT {} FROM servers WHERE id = ?{}", server_columns(), lock), id)) return server_from_row(*row);
  return std::nullopt;
}

}  // namespace

std::optional<ServerRow> find_server(db::Tx& tx, const ServerId& id) { return read_server(tx, id, ""); }

std::optional<ServerRow> lock_server(db::Tx& tx, const ServerId& id) { return read_server(tx, id, db::for_update(tx)); }

void update_server(db::Tx& tx, const std::string& id, const Changes& changes) {
  if (changes.empty()) return;
  std::string sql = "UPDATE servers SET ";
  std::vector<db::Value> values;
  for (const auto& [column, value] : changes) {
    sql += fmt::format("{}{} = ?", values.empty() ? "" : ", ", column);
    values.push_back(value);
  }
  values.emplace_back(id);
  tx.exec(sql + " WHERE id = ?", values);
}

Metadata server_metadata(db::Tx& tx, const std::string& id) {
  Metadata all;
  for (const auto& row : tx.query("SELECT name, value FROM server_metadata WHERE server_id = ?", id))
    all[row.text(0)] = row.text(1);
  return all;
}

std::map<std::string, Metadata> server_metadata(db::Tx& tx, const std::vector<ServerId>& ids) {
  std::map<std::string, Metadata> all;
  in_pieces(ids, [&](const std::vector<ServerId>& piece) {
    std::vector<db::Value> values;
    const auto marks = marks_for_ids(piece, values);
    for (const auto& row : tx.query(
             "SELECT server_id, name, value FROM server_metadata WHERE server_id IN (" + marks + ")", values))
      all[row.text(0)][row.text(1)] = row.text(2);
  });
  return all;
}

void put_server_metadata(db::Tx& tx, const std::string& id, const Metadata& items) {
  for (const auto& [name, value] : items) {
    if (tx.exec("UPDATE server_metadata SET value = ? WHERE server_id = ? AND name = ?", value, id, name) > 0)
      continue;
    tx.exec("INSERT INTO server_metadata (server_id, name, value) VALUES (?, ?, ?)", id, name, value);
  }
}

std::vector<std::string> server_tags(db::Tx& tx, const std::string& id) {
  std::vector<std::string> all;
  for (const auto& row : tx.query("SELECT tag FROM server_tags WHERE server_id = ? ORDER BY tag", id))
    all.push_back(row.text(0));
  return all;
}

std::map<std::string, std::vector<std::string>> server_tags(db::Tx& tx, const std::vector<ServerId>& ids) {
  std::map<std::string, std::vector<std::string>> all;
  in_pieces(ids, [&](const std::vector<ServerId>& piece) {
    std::vector<db::Value> values;
    const auto marks = marks_for_ids(piece, values);
    for (const auto& row :
         tx.query("SELECT server_id, tag FROM server_tags WHERE server_id IN (" + marks + ") ORDER BY tag",
                  values))
      all[row.text(0)].push_back(row.text(1));
  });
  return all;
}

}  // namespace virga::compute
