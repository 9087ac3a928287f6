// Trusts (OS-TRUST): a user lets another act in a project with some of its roles.
#include <fmt/format.h>

#include <algorithm>

#include "identity/faults.h"
#include "identity/revocations.h"
#include "identity/routes.h"
#include "identity/trust_table.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "trust",
      .plural = "trusts",
      .attributes =
          {{.name = "trustor_user_id", .type = Type::string, .create = Set::required, .min = 1, .max = 64},
           {.name = "trustee_user_id", .type = Type::string, .create = Set::required, .min = 1, .max = 64},
           {.name = "impersonation", .type = Type::boolean, .create = Set::required},
           {.name = "project_id", .type = Type::string, .create = Set::optional, .nullable = true, .max = 64},
           {.name = "remaining_uses",
            .type = Type::integer,
            .create = Set::optional,
            .nullable = true,
            .max = 0},
           {.name = "expires_at", .type = Type::string, .create = Set::optional, .nullable = true},
           {.name = "allow_redelegation", .type = Type::boolean, .create = Set::optional, .nullable = true},
           {.name = "redelegation_count",
            .type = Type::integer,
            .create = Set::optional,
            .nullable = true,
            .max = 0},
           {.name = "roles", .type = Type::array, .create = Set::optional, .max = 0}},
      .extra = true};
  return r;
}

api::Target target_of(const TrustRow& t) {
  return {{"target.trust.trustor_user_id", t.trustor_user_id},
          {"target.trust.trustee_user_id", t.trustee_user_id}};
}

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object summary_view(const api::Call& call, const TrustRow& t) {
  json::object out = t.extra;
  out["id"] = t.id;
  out["trustor_user_id"] = t.trustor_user_id;
  out["trustee_user_id"] = t.trustee_user_id;
  out["project_id"] = or_null(t.project_id);
  out["impersonation"] = t.impersonation;
  out["expires_at"] = t.expires_at ? json::value(to_iso_us(*t.expires_at)) : json::value(nullptr);
  out["deleted_at"] = nullptr;
  out["remaining_uses"] = t.remaining_uses ? json::value(*t.remaining_uses) : json::value(nullptr);
  out["redelegated_trust_id"] = or_null(t.redelegated_trust_id);
  out["redelegation_count"] = t.redelegation_count;
  out["links"] = self_link(call, "OS-TRUST/trusts", t.id);
  return out;
}

/// Roles that were deleted since are left out (and the trust gives no tokens any more).
json::array role_views(db::Tx& tx, const api::Call& call, const TrustRow& t) {
  json::array out;
  api::Where where;
  where.add_in("id", {t.role_ids.begin(), t.role_ids.end()});
  for (const auto& row :
       tx.query(fmt::format("SELECT {} FROM identity_roles{} ORDER BY name", kRoleColumns, where.sql()),
                where.values))
    out.push_back(role_view(call, read_role(row)));
  return out;
}

json::object role_links(const api::Call& call, const TrustRow& t) {
  return {{"self", fmt::format("{}/v3/OS-TRUST/trusts/{}/roles", call.base_url, t.id)},
          {"next", nullptr},
          {"previous", nullptr}};
}

json::object full_view(db::Tx& tx, const api::Call& call, const TrustRow& t) {
  json::object out = summary_view(call, t);
  out["roles"] = role_views(tx, call, t);
  out["roles_links"] = role_links(call, t);
  return out;
}

void refuse_restricted(const api::Caller& caller) {
  if (caller.restricted)
    forbid_action("Using method 'application_credential' is not allowed for managing trusts.");
}

/// How often the new trust may be passed on, and whether its uses may be counted.
void settle_redelegation(const Core& core, const json::object& a, TrustRow& t) {
  const int64_t most = core.options.max_redelegation_count;
  const std::optional<int64_t> asked =
      has_value(a, "redelegation_count") ? std::optional(find_int(a, "redelegation_count")) : std::nullopt;
  if (!find_bool(a, "allow_redelegation") || asked == 0) {
    t.redelegation_count = 0;
    return;
  }
  if (asked && *asked > most) forbid();
  if (t.remaining_uses) refuse_body("remaining_uses must not be set if redelegation is allowed");
  t.redelegation_count = asked.value_or(most);
}

/// A trust made with a trust's token gives no more than that trust does, nor for longer.
void check_redelegation(const Core& core, db::Tx& tx, const json::object& a, const TrustRow& parent,
                        TrustRow& t) {
  const auto chain = trust_chain(tx, parent);
  if (!chain) forbid();
  const int64_t left = parent.redelegation_count - 1;
  if (has_value(a, "redelegation_count") && t.redelegation_count > 0 && t.redelegation_count != left)
    forbid();
  t.redelegated_trust_id = parent.id;
  if (t.redelegation_count > 0) t.redelegation_count = left;
  for (const auto& link : *chain) {
    if (link.redelegation_count <= 0 || link.redelegation_count > core.options.max_redelegation_count)
      forbid();
    if (t.remaining_uses) forbid();
    if (!t.expires_at) t.expires_at = link.expires_at;
    if (link.expires_at && t.expires_at && *link.expires_at < *t.expires_at) forbid();
    if (!std::includes(link.role_ids.begin(), link.role_ids.end(), t.role_ids.begin(), t.role_ids.end()))
      forbid();
    if (link.project_id != t.project_id) forbid();
    if (!link.impersonation && t.impersonation) forbid();
  }
}

TrustRow read_new(const Core& core, const json::object& a) {
  TrustRow t{.id = new_hex_id(),
             .trustor_user_id = find_string(a, "trustor_user_id"),
             .trustee_user_id = find_string(a, "trustee_user_id"),
             .project_id = find_string(a, "project_id"),
             .impersonation = find_bool(a, "impersonation")};
  if (has_value(a, "expires_at")) t.expires_at = read_expiry(find_string(a, "expires_at"), core.clock.now());
  if (has_value(a, "remaining_uses")) {
    t.remaining_uses = find_int(a, "remaining_uses");
    if (*t.remaining_uses < 1)
      refuse_body(fmt::format("Invalid input for field 'remaining_uses': {} is less than the minimum of 1",
                              *t.remaining_uses));
  }
  if (find_int(a, "redelegation_count") < 0)
    refuse_body("Invalid input for field 'redelegation_count': it is less than the minimum of 0");
  settle_redelegation(core, a, t);
  return t;
}

/// The trustor must hold what it gives away.
void check_roles(db::Tx& tx, const TrustRow& t) {
  if (t.project_id.empty() && t.role_ids.empty()) return;
  if (!t.project_id.empty()) get_project(tx, t.project_id);
  const auto held = t.project_id.empty() ? std::set<std::string>()
                                         : role_ids_of(tx, t.trustor_user_id, {"project", t.project_id});
  for (const auto& id : t.role_ids)
    if (!held.contains(id)) not_found("role", id);
}

http::Response create_trust(Core& core, api::Call& call) {
  call.require({{"trust.trustor_user_id", find_string(unchecked_body(call, "trust"), "trustor_user_id")}});
  json::object a = api::validate_create(resource(), call.body_of("trust"));
  const json::object extra = take_extra(resource(), a);
  const api::Caller& caller = call.caller();
  refuse_restricted(caller);
  const json::array* roles = find_array(a, "roles");
  if (has_value(a, "project_id") && (!roles || roles->empty()))
    forbid_action("At least one role should be specified");
  if (caller.user_id != find_string(a, "trustor_user_id"))
    forbid_action("The authenticated user should match the trustor");
  if (!caller.access_token_id.empty()) forbid_action("Redelegation allowed for delegated by trust only");
  const TrustRow wanted = read_new(core, a);
  json::object shown;
  core.change([&](db::Tx& tx) {
    TrustRow t = wanted;
    t.extra = extra;
    get_user(tx, t.trustee_user_id);
    if (roles)
      for (const auto& role : *roles) t.role_ids.insert(named_role(tx, role));
    check_roles(tx, t);
    if (!caller.trust_id.empty()) {
      const auto parent = find_trust(tx, caller.trust_id);
      if (!parent) not_found("trust", caller.trust_id);
      check_redelegation(core, tx, a, *parent, t);
    }
    insert_trust(tx, t);
    shown = full_view(tx, call, t);
  });
  return item_reply(201, "trust", std::move(shown));
}

http::Response list_trusts(Core& core, api::Call& call) {
  const auto trustor = call.request.query_value("trustor_user_id"),
             trustee = call.request.query_value("trustee_user_id");
  std::string where, value;
  if (trustor && !trustor->empty()) {
    call.require("identity:list_trusts_for_trustor", {{"target.trust.trustor_user_id", *trustor}});
    where = "trustor_user_id = ?";
    value = *trustor;
  } else if (trustee && !trustee->empty()) {
    call.require("identity:list_trusts_for_trustee", {{"target.trust.trustee_user_id", *trustee}});
    where = "trustee_user_id = ?";
    value = *trustee;
  } else {
    call.require("identity:list_trusts", {});
  }
  json::array out;
  for (const auto& t : core.database.read([&](db::Tx& tx) { return find_trusts(tx, where, value); }))
    out.push_back(summary_view(call, t));
  return list_reply(call, "trusts", std::move(out));
}

/// The trust of the path: a 404 comes before any 403, and a trust that is over or used up is none.
TrustRow read_target(Core& core, api::Call& call) {
  const std::string& id = call.param("trust_id");
  const auto found = core.database.read([&](db::Tx& tx) {
    auto t = find_trust(tx, id);
    return t && trust_chain(tx, *t) ? t : std::nullopt;
  });
  if (!found || found->expired(core.clock.now()) || found->used_up()) not_found("trust", id);
  call.require(target_of(*found));
  return *found;
}

http::Response show_trust(Core& core, api::Call& call) {
  const auto t = read_target(core, call);
  return item_reply(200, "trust", core.database.read([&](db::Tx& tx) { return full_view(tx, call, t); }));
}

http::Response delete_trust(Core& core, api::Call& call) {
  const auto t = read_target(core, call);
  refuse_restricted(call.caller());
  core.change([&](db::Tx& tx) { erase_trust(tx, t.id, core.clock.now()); });
  return api::reply(204);
}

http::Response list_roles(Core& core, api::Call& call) {
  const auto t = read_target(core, call);
  json::array roles = core.database.read([&](db::Tx& tx) { return role_views(tx, call, t); });
  return api::reply(200, {{"roles", std::move(roles)}, {"links", role_links(call, t)}});
}

http::Response show_role(Core& core, api::Call& call) {
  const auto t = read_target(core, call);
  const std::string& id = call.param("role_id");
  if (!t.role_ids.contains(id)) not_found("role", id);
  return item_reply(200, "role",
                    core.database.read([&](db::Tx& tx) { return role_view(call, get_role(tx, id)); }));
}

}  // namespace

void add_trust_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  // Which of three rules a list needs depends on its filter; the row names the one that always has a target.
  const std::string all = "/v3/OS-TRUST/trusts", one = all + "/{trust_id}";
  to.push_back({"POST", all, "identity:create_trust", on(create_trust)});
  to.push_back({"GET", all, "identity:list_trusts_for_trustor", on(list_trusts)});
  to.push_back({"GET", one, "identity:get_trust", on(show_trust)});
  to.push_back({"DELETE", one, "identity:delete_trust", on(delete_trust)});
  to.push_back({"GET", one + "/roles", "identity:list_roles_for_trust", on(list_roles)});
  to.push_back(
      {"GET", one + "/roles/{role_id}", "identity:get_role_for_trust", on(show_role)});
}

}  // namespace virga::identity
