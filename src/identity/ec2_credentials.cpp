// EC2 credentials of a user (OS-EC2): an access key and a secret that sign requests. Stored among the
// credentials, type "ec2".
#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/core.h"
#include "identity/credential_table.h"
#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

json::object view(const api::Call& call, const CredentialRow& c) {
  const json::object blob = read_json(c.blob);
  const std::string access = find_string(blob, "access");
  return {{"user_id", c.user_id},
          {"tenant_id", or_null(c.project_id)},
          {"access", access},
          {"secret", find_string(blob, "secret")},
          {"trust_id", or_null(find_string(blob, "trust_id"))},
          {"links", self_link(call, fmt::format("users/{}/credentials/OS-EC2", c.user_id), access)}};
}

http::Response create(Core& core, api::Call& call) {
  const std::string& user_id = call.param("user_id");
  call.require({{"user_id", user_id}, {"target.credential.user_id", user_id}});
  const std::string project_id = find_string(call.body(), "tenant_id");
  json::object blob{
      {"access", new_hex_id()}, {"secret", new_secret()}, {"trust_id", or_null(call.caller().trust_id)}};
  // As for /v3/credentials: what a delegated token makes carries no more rights than it.
  if (!call.caller().application_credential_id.empty())
    blob["app_cred_id"] = call.caller().application_credential_id;
  if (!call.caller().access_token_id.empty()) blob["access_token_id"] = call.caller().access_token_id;
  const CredentialRow c{.id = ec2_credential_id(find_string(blob, "access")),
                        .user_id = user_id,
                        .project_id = project_id,
                        .type = "ec2",
                        .blob = json::serialize(blob)};
  core.change([&](db::Tx& tx) {
    get_user(tx, user_id);
    get_project(tx, project_id);
    insert_credential(core, tx, c);
  });
  return item_reply(201, "credential", view(call, c));
}

http::Response list(Core& core, api::Call& call) {
  const std::string& user_id = call.param("user_id");
  call.require({{"user_id", user_id}});
  json::array out;
  core.database.read([&](db::Tx& tx) {
    out.clear();
    get_user(tx, user_id);
    for (const auto& c : credentials_of(core, tx, user_id, "ec2"))
      if (call.allows("identity:ec2_get_credential",
                      {{"target.credential.user_id", credential_owner(call.caller(), c)}}))
        out.push_back(view(call, c));
  });
  return list_reply(call, "credentials", std::move(out));
}

CredentialRow read_target(Core& core, api::Call& call) {
  const std::string id = ec2_credential_id(call.param("access"));
  const auto found = core.database.read([&](db::Tx& tx) { return find_credential(core, tx, id); });
  if (!found || found->user_id != call.param("user_id")) not_found("credential", id);
  call.require({{"target.credential.user_id", credential_owner(call.caller(), *found)}});
  if (found->type != "ec2") refuse_authentication();
  return *found;
}

http::Response show(Core& core, api::Call& call) {
  return item_reply(200, "credential", view(call, read_target(core, call)));
}

http::Response erase(Core& core, api::Call& call) {
  const auto found = read_target(core, call);
  core.change([&](db::Tx& tx) { erase_credential(tx, found.id); });
  return api::reply(204);
}

}  // namespace

void add_ec2_credential_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string all = "/v3/users/{user_id}/credentials/OS-EC2", one = all + "/{access}";
  to.push_back({"POST", all, "identity:ec2_create_credential", on(create)});
  to.push_back({"GET", all, "identity:ec2_list_credentials", on(list)});
  to.push_back({"GET", one, "identity:ec2_get_credential", on(show)});
  to.push_back({"DELETE", one, "identity:ec2_delete_credential", on(erase)});
}

}  // namespace virga::identity
