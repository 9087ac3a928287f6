#include "compute/keypairs.h"

#include <cstring>

#include "compute/quotas.h"

namespace virga::compute {
namespace {

struct Keypair {
  std::string name, type, fingerprint, public_key, user_id, created_at;
  int64_t number = 0;
};
constexpr std::string_view kColumns = "name, type, fingerprint, public_key, user_id, created_at, number";

Keypair from_row(const db::Row& r) {
  return {r.text(0), r.text(1), r.text(2), r.text(3), r.text(4), r.text(5), r.integer(6)};
}

json::object brief_view(const api::Call& call, const Keypair& k) {
  json::object view{{"name", k.name}, {"public_key", k.public_key}, {"fingerprint", k.fingerprint}};
  if (call.since(2, 2)) view["type"] = k.type;
  return view;
}

json::object full_view(const api::Call& call, const Keypair& k) {
  json::object view = brief_view(call, k);
  view["user_id"] = k.user_id;
  view["id"] = k.number;
  view["created_at"] = db_to_iso(k.created_at);
  view["updated_at"] = nullptr;
  view["deleted_at"] = nullptr;
  view["deleted"] = false;
  return view;
}

/// From 2.10 on administrators act for other users.
std::string user_of(api::Call& call, const std::string& asked) {
  if (asked.empty() || !call.since(2, 10) || asked == call.caller().user_id) return call.caller().user_id;
  call.require_still({{"project_id", call.caller().project_id}, {"user_id", asked}});
  return asked;
}
std::string user_in_query(api::Call& call) {
  return user_of(call, call.request.query_value("user_id").value_or(""));
}

Keypair need_keypair(db::Tx& tx, const std::string& user, const std::string& name) {
  if (const auto row = tx.first(
          fmt::format("SELECT {} FROM keypairs WHERE user_id = ? AND name = ?", kColumns), user, name))
    return from_row(*row);
  throw Fault(FaultKind::not_found, fmt::format("Keypair {} not found for user {}", name, user));
}

void check_name(const std::string& name, bool wide) {
  const auto allowed = [wide](char c) {
    return isalnum(static_cast<unsigned char>(c)) || strchr(wide ? " _-@." : " _-", c);
  };
  if (name.empty() || name.size() > 255 || name.front() == ' ' || name.back() == ' ')
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute name. Value: {}. It must have 1 to 255 "
                            "characters and no leading or trailing blanks.",
                            name));
  if (!std::all_of(name.begin(), name.end(), allowed))
    throw Fault(FaultKind::bad_request, "Keypair data is invalid: Keypair name contains unsafe characters");
}

void insert(Core& core, db::Tx& tx, Keypair& k) {
  const int64_t limit = quota_class_limits(core, tx, "default").at("key_pairs");
  const int64_t count = tx.first("SELECT COUNT(*) FROM keypairs WHERE user_id = ?", k.user_id)->integer(0);
  if (limit >= 0 && count >= limit) throw Fault(FaultKind::forbidden, "Quota exceeded, too many key pairs.");
  if (tx.first("SELECT name FROM keypairs WHERE user_id = ? AND name = ?", k.user_id, k.name))
    throw Fault(FaultKind::conflict, fmt::format("Key pair '{}' already exists.", k.name));
  k.number = next_number(tx, "keypair");
  tx.exec(
      "INSERT INTO keypairs (user_id, name, number, type, fingerprint, public_key, created_at) VALUES (?, ?, "
      "?, ?, ?, ?, ?)",
      k.user_id, k.name, k.number, k.type, k.fingerprint, k.public_key, core.clock.now());
}

http::Response create(Core& core, api::Call& call) {
  using api::Set;
  static const api::Resource kResource{
      "keypair",
      "keypairs",
      {{.name = "name", .create = Set::required, .min = 1, .max = 255},
       {.name = "public_key", .create = Set::optional, .min = 1, .max = 16000},
       {.name = "type", .create = Set::optional, .one_of = {"ssh", "x509"}, .since = {2, 2}},
       {.name = "user_id", .create = Set::optional, .since = {2, 10}}}};
  const auto in = api::validate_create(kResource, call.body_of("keypair"), call.version);
  Keypair k;
  k.name = find_string(in, "name");
  k.type = find_string(in, "type", "ssh");
  k.user_id = user_of(call, find_string(in, "user_id"));
  k.public_key = find_string(in, "public_key");
  check_name(k.name, call.since(2, 92));
  if (k.type == "x509")
    throw Fault(FaultKind::not_implemented, "Key pairs of type x509 are not implemented.", "Use type ssh.");
  std::string private_key;
  if (k.public_key.empty()) {
    if (call.since(2, 92))
      throw Fault(FaultKind::bad_request,
                  "Invalid input for field/attribute keypair. 'public_key' is a required property");
    // 2048 bits take a tenth of a second here: outside of any transaction.
    auto made = generate_key("rsa", "Generated-by-Virga");
    k.public_key = std::move(made.public_key);
    private_key = std::move(made.private_key);
  }
  k.fingerprint = key_fingerprint(k.public_key);
  core.database.write([&](db::Tx& tx) { insert(core, tx, k); });
  json::object view = brief_view(call, k);
  view["user_id"] = k.user_id;
  if (!private_key.empty()) view["private_key"] = private_key;
  return api::reply(call.since(2, 2) ? 201 : 200, json::object{{"keypair", std::move(view)}});
}

http::Response list(Core& core, api::Call& call) {
  const std::string user = user_in_query(call);
  static const api::Resource kResource{"keypair", "keypairs", {{.name = "name", .sort = true}}};
  api::ListQuery query;
  if (call.since(2, 35))
    query = api::parse_list(kResource, call.request, {.max_limit = 1000, .default_limit = true});
  query.sorts.clear();
  api::Where where;
  where.add("user_id = ?", user);
  json::array all;
  std::string next;
  core.database.read([&](db::Tx& tx) {
    auto rows = api::select_page(tx, kColumns, "keypairs", query, where, "name");
    if (api::take_page(rows, query) && !rows.empty()) next = api::next_url(call, rows.back().text(0));
    for (const auto& row : rows) all.push_back(json::object{{"keypair", brief_view(call, from_row(row))}});
  });
  json::object body{{"keypairs", std::move(all)}};
  if (!next.empty()) body["keypairs_links"] = json::array{json::object{{"rel", "next"}, {"href", next}}};
  return api::reply(200, body);
}

}  // namespace

void add_keypair_routes(Routes& routes, Core& core) {
  routes.add("GET", "/os-keypairs", "os-keypairs:index",
             [&core](api::Call& call) { return list(core, call); });
  routes.add("POST", "/os-keypairs", "os-keypairs:create",
             [&core](api::Call& call) { return create(core, call); });
  routes.add("GET", "/os-keypairs/{name}", "os-keypairs:show", [&core](api::Call& call) {
    const auto user = user_in_query(call);
    return api::reply(200, json::object{{"keypair", full_view(call, core.database.read([&](db::Tx& tx) {
                                           return need_keypair(tx, user, call.param("name"));
                                         }))}});
  });
  routes.add("DELETE", "/os-keypairs/{name}", "os-keypairs:delete", [&core](api::Call& call) {
    const auto user = user_in_query(call);
    core.database.write([&](db::Tx& tx) {
      need_keypair(tx, user, call.param("name"));
      tx.exec("DELETE FROM keypairs WHERE user_id = ? AND name = ?", user, call.param("name"));
    });
    return api::reply(call.since(2, 2) ? 204 : 202);
  });
}

}  // namespace virga::compute
