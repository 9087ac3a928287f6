// OAuth 1.0a's resources: consumers, and the access tokens that a user has given.
#include "identity/oauth1.h"

#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/attribute_rows.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "consumer",
      .plural = "consumers",
      .attributes = {rows::id(), rows::description(), {.name = "secret", .type = Type::any}},
      .extra = true};
  return r;
}

/// The secret is told once: in the answer to the creation.
json::object view(const api::Call& call, const ConsumerRow& c, bool with_secret = false) {
  json::object out = c.extra;
  out["id"] = c.id;
  out["description"] = c.description ? json::value(*c.description) : json::value(nullptr);
  if (with_secret) out["secret"] = c.secret;
  out["links"] = self_link(call, "OS-OAUTH1/consumers", c.id);
  return out;
}

ConsumerRow get_consumer(db::Tx& tx, const std::string& id) {
  auto found = find_consumer(tx, id);
  if (!found) throw Fault(FaultKind::not_found, "Consumer not found");
  return *found;
}

void read_description(ConsumerRow& c, const json::object& a) {
  if (!a.contains("description")) return;
  c.description = has_value(a, "description") ? std::optional(find_string(a, "description")) : std::nullopt;
}

http::Response create_consumer(Core& core, api::Call& call) {
  json::object body = call.body_of("consumer");
  body.erase("id");
  json::object a = api::validate_create(resource(), body);
  ConsumerRow c{.id = new_hex_id(), .secret = new_secret()};
  c.extra = take_extra(resource(), a);
  read_description(c, a);
  core.change([&](db::Tx& tx) {
    tx.exec("INSERT INTO identity_consumers (id, secret, description, extra) VALUES (?, ?, ?, ?)", c.id,
            c.secret, c.description, json::serialize(c.extra));
  });
  return item_reply(201, "consumer", view(call, c, true));
}

http::Response list_consumers(Core& core, api::Call& call) {
  const auto query = api::parse_list(resource(), call.request, list_rules());
  db::Rows rows = core.database.read([&](db::Tx& tx) {
    return api::select_page(tx, "id, description, extra", "identity_consumers", query, {});
  });
  const bool more = api::take_page(rows, query);
  json::array out;
  for (const auto& r : rows)
    out.push_back(view(call, {r.text(0), "", r.maybe_text(1), read_json(r.text(2))}));
  return list_reply(call, "consumers", std::move(out), more ? rows.back().text(0) : "");
}

http::Response show_consumer(Core& core, api::Call& call) {
  const auto c = core.database.read([&](db::Tx& tx) { return get_consumer(tx, call.param("consumer_id")); });
  return item_reply(200, "consumer", view(call, c));
}

http::Response update_consumer(Core& core, api::Call& call) {
  json::object a = update_body(call, resource(), call.param("consumer_id"));
  const json::object extra = take_extra(resource(), a);
  const auto changed = core.change([&](db::Tx& tx) {
    ConsumerRow c = get_consumer(tx, call.param("consumer_id"));
    read_description(c, a);
    merge_extra(c.extra, extra);
    tx.exec("UPDATE identity_consumers SET description = ?, extra = ? WHERE id = ?", c.description,
            json::serialize(c.extra), c.id);
    return c;
  });
  return item_reply(200, "consumer", view(call, changed));
}

http::Response delete_consumer(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    const ConsumerRow c = get_consumer(tx, call.param("consumer_id"));
    tx.exec("DELETE FROM identity_consumers WHERE id = ?", c.id);
  });
  return api::reply(204);
}

std::string tokens_path(const AccessTokenRow& t) {
  return fmt::format("users/{}/OS-OAUTH1/access_tokens", t.user_id);
}

json::object token_view(const api::Call& call, const AccessTokenRow& t) {
  json::object links = self_link(call, tokens_path(t), t.id);
  links["roles"] = str(links.at("self")) + "/roles";
  return {{"id", t.id},
          {"consumer_id", t.consumer_id},
          {"project_id", t.project_id},
          {"authorizing_user_id", t.user_id},
          {"expires_at", t.expires_at ? json::value(to_iso_us(*t.expires_at)) : json::value(nullptr)},
          {"links", std::move(links)}};
}

/// The path's token, if it is its user's.
AccessTokenRow get_token(db::Tx& tx, const api::Call& call) {
  auto found = find_access_token(tx, call.param("access_token_id"));
  if (!found || found->user_id != call.param("user_id"))
    throw Fault(FaultKind::not_found, "Access token not found");
  return *found;
}

http::Response list_access_tokens(Core& core, api::Call& call) {
  json::array out;
  for (const auto& t :
       core.database.read([&](db::Tx& tx) { return access_tokens_of(tx, call.param("user_id")); }))
    out.push_back(token_view(call, t));
  return list_reply(call, "access_tokens", std::move(out));
}

http::Response show_access_token(Core& core, api::Call& call) {
  const auto t = core.database.read([&](db::Tx& tx) { return get_token(tx, call); });
  return item_reply(200, "access_token", token_view(call, t));
}

http::Response delete_access_token(Core& core, api::Call& call) {
  core.change([&](db::Tx& tx) {
    tx.exec("DELETE FROM identity_access_tokens WHERE id = ?", get_token(tx, call).id);
  });
  return api::reply(204);
}

http::Response list_access_token_roles(Core& core, api::Call& call) {
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& id : get_token(tx, call).role_ids)
      if (tx.first("SELECT 1 FROM identity_roles WHERE id = ?", id))
        out.push_back(role_view(call, get_role(tx, id)));
  });
  return list_reply(call, "roles", std::move(out));
}

http::Response show_access_token_role(Core& core, api::Call& call) {
  const std::string& id = call.param("role_id");
  const auto role = core.database.read([&](db::Tx& tx) {
    if (!get_token(tx, call).role_ids.contains(id)) not_found("role", id);
    return get_role(tx, id);
  });
  return item_reply(200, "role", role_view(call, role));
}

}  // namespace

void add_oauth1_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  constexpr std::string_view consumers = "/v3/OS-OAUTH1/consumers",
                             consumer = "/v3/OS-OAUTH1/consumers/{consumer_id}";
  const std::string tokens = "/v3/users/{user_id}/OS-OAUTH1/access_tokens",
                    token = tokens + "/{access_token_id}";
  to.push_back({"POST", consumers, "identity:create_consumer", on(create_consumer)});
  to.push_back({"GET", consumers, "identity:list_consumers", on(list_consumers)});
  to.push_back({"GET", consumer, "identity:get_consumer", on(show_consumer)});
  to.push_back({"PATCH", consumer, "identity:update_consumer", on(update_consumer)});
  to.push_back({"DELETE", consumer, "identity:delete_consumer", on(delete_consumer)});
  to.push_back({"GET", tokens, "identity:list_access_tokens", on(list_access_tokens)});
  to.push_back({"GET", token, "identity:get_access_token", on(show_access_token)});
  to.push_back({"DELETE", token, "identity:delete_access_token", on(delete_access_token)});
  to.push_back({"GET", token + "/roles", "identity:list_access_token_roles",
                on(list_access_token_roles)});
  to.push_back({"GET", token + "/roles/{role_id}", "identity:get_access_token_role",
                on(show_access_token_role)});
}

}  // namespace virga::identity
