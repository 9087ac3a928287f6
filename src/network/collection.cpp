#include "network/collection.h"

#include <fmt/format.h>

#include "base/ids.h"
#include "base/text.h"
#include "network/revision_match.h"
#include "network/row_policy.h"

namespace virga::network {
namespace {

using api::Call;
using api::Caller;
using api::Where;

constexpr int kMaxBulk = 256;

Fault missing(const Collection& c, const std::string& id) {
  return Fault(FaultKind::not_found, fmt::format("{} {} could not be found.", c.title, id), "", std::string(c.not_found));
}

void add_visible(const Collection& c, const Caller& caller, Where& where) {
  if (caller.is_admin()) return;
  if (c.also_visible.empty()) return where.add("project_id = ?", caller.project_id);
  const bool parameter = c.also_visible.find('?') != std::string_view::npos;
  where.add(fmt::format("(project_id = ? OR {})", c.also_visible), caller.project_id);
  if (parameter) where.values.emplace_back(caller.project_id);
}

void load_tags(db::Tx& tx, const Collection& c, Objects& rows) {
  if (rows.empty() || !c.resource.find("tags")) return;
  std::map<std::string, Object*> by_id;
  std::vector<db::Value> ids;
  for (auto& row : rows) {
    row["tags"].emplace_array();
    by_id[text_of(row, "id")] = &row;
    ids.emplace_back(text_of(row, "id"));
  }
  for (const auto& r : tx.query(fmt::format("SELECT resource_id, tag FROM network_tags WHERE resource_id IN ({}) ORDER BY tag", db::placeholders(ids.size())), ids))
    by_id.at(r.text(0))->at("tags").as_array().push_back(json::value(r.text(1)));
}

void decorate(db::Tx& tx, const Collection& c, Objects& rows) {
  load_tags(tx, c, rows);
  for (auto& row : rows)
    if (row.contains("project_id")) row["tenant_id"] = row["project_id"];
  if (c.decorate) c.decorate(tx, rows);
}

Object show_to(const Collection& c, const ReadFilter& filter, Object row, const api::Target& target, const std::vector<std::string>& fields) {
  filter.apply(row, target);
  for (auto name : c.hidden) row.erase(name);
  return api::only_fields(std::move(row), fields);
}

Object find(db::Tx& tx, const Collection& c, const std::string& id, Where where) {
  where.add("id = ?", id);
  const auto row = tx.first(fmt::format("SELECT {} FROM {}{}", api::record_columns(c.resource), c.table, where.sql()), where.values);
  if (!row) throw missing(c, id);
  Objects one{api::read_record(c.resource, *row)};
  decorate(tx, c, one);
  return std::move(one.front());
}

/// A row as a call's answer shows it.
Object show_one(db::Tx& tx, const Collection& c, const Call& call, Object row) {
  const api::Target target = target_of(tx, row);
  return show_to(c, ReadFilter(call, c), std::move(row), target, {});
}

// ---- list ---------------------------------------------------------------------------------------------------------

void add_tag_filter(const std::string& name, const std::string& value, Where& where) {
  const std::vector<std::string> tags = split(value, ',');
  const bool any = name.find("any") != std::string::npos, negated = name.rfind("not-", 0) == 0;
  std::string condition;
  for (size_t i = 0; i < tags.size(); ++i)
    condition += fmt::format("{}EXISTS (SELECT 1 FROM network_tags t WHERE t.resource_id = id AND t.tag = ?)", i == 0 ? "" : any ? " OR " : " AND ");
  where.add(fmt::format("{}({})", negated ? "NOT " : "", condition));
  where.values.insert(where.values.end(), tags.begin(), tags.end());
}

void add_special_filters(const Collection& c, const http::Request& request, Where& where) {
  std::map<std::string, std::vector<std::string>> values;
  for (const auto& [name, value] : request.query) values[name].push_back(value);
  for (const auto& [name, list] : values) {
    if (name == "tags" || name == "tags-any" || name == "not-tags" || name == "not-tags-any") {
      for (const auto& v : list) add_tag_filter(name, v, where);
    } else if (name == "tenant_id") {
      where.add_in("project_id", list);
    } else if (c.filter) {
      c.filter(name, list, where);
    }
  }
}

http::Response list(const Environment& env, const Collection& c, Call& call) {
  api::ListQuery query = api::parse_list(c.resource, call.request, {.max_limit = 0});
  Where where;
  add_visible(c, call.caller(), where);
  add_special_filters(c, call.request, where);
  if (query.sorts.empty() && c.resource.find("created_at")) query.sorts = {{c.resource.find("created_at"), false}};
  if (c.before_list) c.before_list(call.caller());
  bool more = false;
  std::vector<api::Target> targets;
  const ReadFilter filter(call, c);
  Objects rows = env.database.read([&](db::Tx& tx) {
    db::Rows found = api::select_page(tx, api::record_columns(c.resource), c.table, query, where);
    more = api::take_page(found, query);
    Objects out;
    for (const auto& r : found) out.push_back(api::read_record(c.resource, r));
    decorate(tx, c, out);
    targets = targets_of(tx, out, &filter.asked());
    return out;
  });
  call.pass();  // each row is asked for itself, and left out where neutron's rule hides it
  json::object body;
  json::array links;
  if (query.limit && more && !rows.empty()) links.push_back(Object{{"rel", "next"}, {"href", api::next_url(call, text_of(rows.back(), "id"))}});
  if (query.limit && !query.marker.empty() && !rows.empty())
    links.push_back(Object{{"rel", "previous"}, {"href", api::next_url(call, text_of(rows.front(), "id")) + "&page_reverse=True"}});
  json::array& out = body[c.resource.plural].emplace_array();
  for (size_t i = 0; i < rows.size(); ++i)
    if (filter.may_get(targets[i])) out.push_back(show_to(c, filter, std::move(rows[i]), targets[i], query.fields));
  if (!links.empty()) body[std::string(c.resource.plural) + "_links"] = std::move(links);
  return api::reply(200, body);
}

http::Response show(const Environment& env, const Collection& c, Call& call) {
  std::vector<std::string> fields;
  for (const auto& [name, value] : call.request.query)
    if (name == "fields") fields.push_back(value);
  api::Target target;
  Object row = env.database.read([&](db::Tx& tx) {
    Object found = find_visible(tx, c, call.caller(), call.param("id"));
    target = target_of(tx, found);
    return found;
  });
  call.pass();
  const ReadFilter filter(call, c);
  if (!filter.may_get(target)) throw missing(c, call.param("id"));
  return api::reply(200, Object{{c.resource.name, show_to(c, filter, std::move(row), target, fields)}});
}

// ---- create, update, delete ---------------------------------------------------------------------------------------

/// tenant_id and project_id are one attribute under two names.
Object normalised(Object body) {
  if (const json::value* tenant = body.if_contains("tenant_id")) {
    const json::value copy = *tenant;
    body.erase("tenant_id");
    if (!body.contains("project_id")) body["project_id"] = copy;
  }
  return body;
}

Object prepare(db::Tx& tx, const Environment& env, const Collection& c, Call& call, const json::value& given) {
  if (!given.is_object()) throw bad_request("Invalid input: a resource must be an object.");
  Object body = normalised(given.get_object());
  Object record = api::validate_create(c.resource, body);
  const std::string project = text_of(record, "project_id");
  if (project.empty()) record["project_id"] = call.caller().project_id;
  if (text_of(record, "project_id").empty())  // a token of the system, a domain, or of nothing
    throw bad_request("Running without keystone AuthN requires that tenant_id is specified", "HTTPBadRequest");
  // neutron-lib refuses this before any policy is asked.
  if (text_of(record, "project_id") != call.caller().project_id && !call.caller().is_admin())
    throw bad_request("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges", "HTTPBadRequest");
  if (c.find_parent) c.find_parent(tx, call.caller(), record);
  require_action(call, c, "create", body, target_of(tx, record));
  record["id"] = new_uuid();
  record["created_at"] = record["updated_at"] = to_iso_us(env.clock.now());
  record["revision_number"] = 1;
  return record;
}

Object create_one(const Environment& env, const Collection& c, Call& call, db::Tx& tx, const Object& prepared) {
  if (!c.quota.empty()) env.use_quota(tx, text_of(prepared, "project_id"), c.quota, 1);
  const std::string id = text_of(c.create(tx, call, prepared), "id");
  return find_any(tx, c, id);
}

http::Response create(const Environment& env, const Collection& c, Call& call) {
  const bool bulk = call.body().contains(c.resource.plural);
  std::vector<Object> prepared;
  const auto add = [&](const json::value& item) { prepared.push_back(env.database.read([&](db::Tx& tx) { return prepare(tx, env, c, call, item); })); };
  if (bulk) {
    const json::array* items = find_array(call.body(), c.resource.plural);
    if (!items || items->empty() || items->size() > kMaxBulk) throw bad_request(fmt::format("Resources required: 1 to {} {}.", kMaxBulk, c.resource.plural));
    for (const auto& item : *items) add(item);
  } else {
    add(call.body_of(c.resource.name));
  }
  json::array made;
  env.database.write([&](db::Tx& tx) {
    made.clear();
    for (const auto& p : prepared) made.push_back(show_one(tx, c, call, create_one(env, c, call, tx, p)));
  });
  if (bulk) return api::reply(201, Object{{c.resource.plural, std::move(made)}});
  return api::reply(201, Object{{c.resource.name, std::move(made.front())}});
}

http::Response update(const Environment& env, const Collection& c, Call& call) {
  const Object body = call.body_of(c.resource.name);
  Object row = env.database.write([&](db::Tx& tx) {
    check_revision(tx, c, call, call.param("id"));
    return update_in(tx, c, call, call.param("id"), body);
  });
  return api::reply(200, Object{{c.resource.name, std::move(row)}});
}

http::Response remove(const Environment& env, const Collection& c, Call& call) {
  env.database.write([&](db::Tx& tx) {
    check_revision(tx, c, call, call.param("id"));
    remove_in(tx, env, c, call, call.param("id"));
  });
  return api::reply(204);
}

}  // namespace

void add_collection(api::Service& service, const Environment& env, const Collection& c) {
  const std::string one = std::string(c.path) + "/{id}";
  const auto add = [&](const char* method, std::string_view path, const char* verb, http::Response (*handler)(const Environment&, const Collection&, Call&)) {
    // Ownership is checked on the row itself, where neutron answers 404 rather than 403.
    service.routes.push_back({method, path, fmt::format("{}_{}", verb, c.resource.name), [&env, &c, handler](Call& call) { return handler(env, c, call); }});
    service.routes.back().chooses_policy = true;
  };
  add("GET", c.path, "get", list);
  add("POST", c.path, "create", create);
  add("GET", one, "get", show);
  if (c.update) add("PUT", one, "update", update);
  add("DELETE", one, "delete", remove);
}

Object create_in(db::Tx& tx, const Environment& env, const Collection& c, Call& call, const Object& body) {
  return show_one(tx, c, call, create_one(env, c, call, tx, prepare(tx, env, c, call, body)));
}

Object update_in(db::Tx& tx, const Collection& c, Call& call, const std::string& id, const Object& body) {
  const Object changes = api::validate_update(c.resource, body);
  const Object current = find_visible(tx, c, call.caller(), id);
  require_change(tx, call, c, "update", current, body);
  c.update(tx, call, current, changes);
  return show_one(tx, c, call, find_any(tx, c, id));
}

void remove_in(db::Tx& tx, const Environment& env, const Collection& c, Call& call, const std::string& id) {
  const Object current = find_visible(tx, c, call.caller(), id);
  require_change(tx, call, c, "delete", current, {});
  c.remove(tx, call, current);
  tx.exec("DELETE FROM network_tags WHERE resource_id = ?", id);
  if (!c.quota.empty()) env.use_quota(tx, text_of(current, "project_id"), c.quota, -1);
}

Object find_visible(db::Tx& tx, const Collection& c, const Caller& caller, const std::string& id) {
  Where where;
  add_visible(c, caller, where);
  return find(tx, c, id, std::move(where));
}

std::optional<db::Row> find_visible_row(db::Tx& tx, const Collection& c, const Caller& caller, const std::string& id, std::string_view columns) {
  Where where;
  add_visible(c, caller, where);
  where.add("id = ?", id);
  return tx.first(fmt::format("SELECT {} FROM {}{}", columns, c.table, where.sql()), where.values);
}

Object find_any(db::Tx& tx, const Collection& c, const std::string& id) { return find(tx, c, id, {}); }

std::string text_of(const Object& object, std::string_view key) { return find_string(object, key); }

std::vector<std::string> ids_of(const Objects& objects) {
  std::vector<std::string> out;
  for (const auto& o : objects) out.push_back(text_of(o, "id"));
  return out;
}

Fault bad_request(std::string message, std::string type) { return Fault(FaultKind::bad_request, std::move(message), "", std::move(type)); }
Fault conflict(std::string message, std::string type) { return Fault(FaultKind::conflict, std::move(message), "", std::move(type)); }

}  // namespace virga::network
