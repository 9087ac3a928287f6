// Credentials of users: EC2 keys, TOTP seeds, and whatever else clients keep here.
#include <fmt/format.h>

#include "identity/core.h"
#include "identity/credential_table.h"
#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

using api::Set;
using api::Type;

const api::Resource& resource() {
  static const api::Resource r{
      .name = "credential",
      .plural = "credentials",
      .attributes = {{.name = "id"},
                     {.name = "blob",
                      .type = Type::string,
                      .create = Set::required,
                      .update = Set::optional,
                      .max = kMaxBlob},
                     {.name = "type", .type = Type::string, .create = Set::required, .update = Set::optional},
                     {.name = "user_id",
                      .type = Type::string,
                      .create = Set::required,
                      .update = Set::optional,
                      .max = 64},
                     {.name = "project_id",
                      .type = Type::string,
                      .create = Set::optional,
                      .update = Set::optional,
                      .max = 64}},
      .extra = true};
  return r;
}

api::Target target_of(std::string user_id) {
  return {{"target.credential.user_id", std::move(user_id)}};
}

bool is_ec2(std::string type) {
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return std::tolower(c); });
  return type == "ec2";
}

json::object view(const api::Call& call, const CredentialRow& c) {
  json::object out = c.extra;
  out["id"] = c.id;
  out["user_id"] = c.user_id;
  out["project_id"] = c.project_id.empty() ? json::value(nullptr) : json::value(c.project_id);
  out["type"] = c.type;
  out["blob"] = c.blob;
  out["links"] = self_link(call, "credentials", c.id);
  return out;
}

json::object read_ec2_blob(const std::string& text) {
  json::value blob;
  try {
    blob = parse_json(text);
  } catch (const Fault&) {
    refuse_body("Invalid blob in credential");
  }
  if (!blob.is_object() || blob.get_object().empty()) expecting("blob", "credential");
  if (!blob.get_object().contains("access")) expecting("access", "credential");
  if (find_string(blob.get_object(), "access").empty()) refuse_body("Invalid blob in credential");
  return blob.get_object();
}

/// What rights come with the token that made it stay with an EC2 credential.
constexpr const char* kBounds[] = {"trust_id", "app_cred_id", "access_token_id"};

void bind(const api::Caller& caller, CredentialRow& c) {
  json::object blob = read_ec2_blob(c.blob);
  c.id = ec2_credential_id(find_string(blob, "access"));
  const std::string* from[] = {&caller.trust_id, &caller.application_credential_id, &caller.access_token_id};
  bool bound = false;
  for (size_t i = 0; i < std::size(kBounds); ++i) {
    if (has_value(blob, kBounds[i]) && find_string(blob, kBounds[i]) != *from[i])  // rights of somebody else
      refuse_body(fmt::format("{} can not be set for credential", kBounds[i]));
    if (from[i]->empty()) continue;
    blob[kBounds[i]] = *from[i];
    bound = true;
  }
  if (bound) c.blob = json::serialize(blob);
}

http::Response create(Core& core, api::Call& call) {
  const json::object given = unchecked_body(call, "credential");
  const api::Caller& caller = call.caller();
  const bool delegated = !caller.trust_id.empty() || !caller.application_credential_id.empty() ||
                         !caller.access_token_id.empty();
  const bool own =
      !delegated || is_ec2(find_string(given, "type"));  // an EC2 credential is bound to the rights
  call.require(target_of(own ? find_string(given, "user_id") : ""));
  json::object a = api::validate_create(resource(), call.body_of("credential"));
  CredentialRow c{.id = new_hex_id()};
  c.extra = take_extra(resource(), a);
  c.user_id = find_string(a, "user_id");
  c.project_id = find_string(a, "project_id");
  c.type = find_string(a, "type");
  c.blob = find_string(a, "blob");
  if (is_ec2(c.type)) {
    if (c.project_id.empty()) refuse_body("'project_id' is a required property");
    bind(call.caller(), c);
  }
  core.change([&](db::Tx& tx) { insert_credential(core, tx, c); });
  return item_reply(201, "credential", view(call, c));
}

/// Everybody may list; what they may not see is left out.
http::Response list(Core& core, api::Call& call) {
  call.require(target_of(call.caller().user_id));
  api::Where where;
  if (const auto user = call.request.query_value("user_id")) where.add("user_id = ?", *user);
  if (const auto type = call.request.query_value("type")) where.add("type = ?", *type);
  // The owner's rule is the only one that looks at the row: whoever passes it without owning may see all.
  if (!call.allows("identity:get_credential", target_of(""))) where.add("user_id = ?", call.caller().user_id);
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    for (const auto& c : find_credentials(core, tx, where))
      if (call.allows("identity:get_credential", target_of(credential_owner(call.caller(), c))))
        out.push_back(view(call, c));
  });
  return list_reply(call, "credentials", std::move(out));
}

CredentialRow read_target(Core& core, api::Call& call) {
  const std::string& id = call.param("credential_id");
  const auto found = core.database.read([&](db::Tx& tx) { return find_credential(core, tx, id); });
  call.require(target_of(found ? credential_owner(call.caller(), *found) : ""));
  if (!found) not_found("credential", id);
  return *found;
}

http::Response show(Core& core, api::Call& call) {
  return item_reply(200, "credential", view(call, read_target(core, call)));
}

/// The bounds of an EC2 credential cannot be changed or lost, or a delegated right could outgrow itself.
void check_bounds(const CredentialRow& old, const CredentialRow& changed) {
  if (!is_ec2(changed.type) && !is_ec2(old.type)) return;
  const json::object before = is_ec2(old.type) ? read_ec2_blob(old.blob) : json::object{};
  const json::object after = is_ec2(changed.type) ? read_ec2_blob(changed.blob) : json::object{};
  for (const char* key : kBounds) {
    const auto* a = before.if_contains(key);
    const auto* b = after.if_contains(key);
    const bool same = (!a || a->is_null()) ? (!b || b->is_null()) : b && *a == *b;
    if (!same) refuse_body(fmt::format("{} can not be updated for credential", key));
  }
}

http::Response update(Core& core, api::Call& call) {
  read_target(core, call);
  json::object a = update_body(call, resource(), call.param("credential_id"));
  const json::object extra = take_extra(resource(), a);
  CredentialRow shown;
  core.change([&](db::Tx& tx) {
    const auto old = find_credential(core, tx, call.param("credential_id"));
    if (!old) not_found("credential", call.param("credential_id"));
    CredentialRow c = *old;
    c.blob = find_string(a, "blob", c.blob);
    c.type = find_string(a, "type", c.type);
    c.user_id = find_string(a, "user_id", c.user_id);
    c.project_id = find_string(a, "project_id", c.project_id);
    merge_extra(c.extra, extra);
    check_bounds(*old, c);
    if (is_ec2(c.type) && c.project_id.empty()) expecting("project_id", "credential");
    call.require(target_of(credential_owner(call.caller(), *old)));
    call.require(
        target_of(credential_owner(call.caller(), c)));  // nobody gives a credential to somebody else
    save_credential(core, tx, c);
    shown = std::move(c);
  });
  return item_reply(200, "credential", view(call, shown));
}

http::Response erase(Core& core, api::Call& call) {
  const auto found = read_target(core, call);
  core.change([&](db::Tx& tx) { erase_credential(tx, found.id); });
  return api::reply(204);
}

}  // namespace

void add_credential_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string all = "/v3/credentials", one = all + "/{credential_id}";
  to.push_back({"POST", all, "identity:create_credential", on(create)});
  to.push_back({"GET", all, "identity:list_credentials", on(list)});
  to.push_back({"GET", one, "identity:get_credential", on(show)});
  to.push_back({"PATCH", one, "identity:update_credential", on(update)});
  to.push_back({"DELETE", one, "identity:delete_credential", on(erase)});
}

}  // namespace virga::identity
