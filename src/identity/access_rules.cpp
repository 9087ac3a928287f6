// The access rules a user's application credentials are made of.
#include "identity/application_credential_table.h"
#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

json::object view(const api::Call& call, const api::AccessRule& rule) {
  return {{"id", rule.id},
          {"service", rule.service},
          {"path", rule.path},
          {"method", rule.method},
          {"links", self_link(call, "users/" + call.param("user_id") + "/access_rules", rule.id)}};
}

http::Response list(Core& core, api::Call& call) {
  call.require({{"target.user.id", call.param("user_id")}});
  const auto service = call.request.query_value("service"), path = call.request.query_value("path"),
             method = call.request.query_value("method");
  json::array out;
  for (const auto& rule :
       core.database.read([&](db::Tx& tx) { return access_rules_of(tx, call.param("user_id")); }))
    if ((!service || *service == rule.service) && (!path || *path == rule.path) &&
        (!method || *method == rule.method))
      out.push_back(view(call, rule));
  return list_reply(call, "access_rules", std::move(out));
}

api::AccessRule get_rule(db::Tx& tx, const api::Call& call) {
  const auto rule = find_access_rule(tx, call.param("user_id"), call.param("access_rule_id"));
  if (!rule) not_found("Access Rule", call.param("access_rule_id"));
  return *rule;
}

http::Response show(Core& core, api::Call& call) {
  call.require({{"target.user.id", call.param("user_id")}});
  return item_reply(200, "access_rule",
                    core.database.read([&](db::Tx& tx) { return view(call, get_rule(tx, call)); }));
}

http::Response erase(Core& core, api::Call& call) {
  call.require({{"target.user.id", call.param("user_id")}});
  core.change([&](db::Tx& tx) {
    const auto rule = get_rule(tx, call);
    if (tx.first("SELECT 1 FROM identity_application_credential_rules WHERE access_rule_id = ?", rule.id))
      throw Fault(FaultKind::forbidden, "May not delete access rule in use");
    tx.exec("DELETE FROM identity_access_rules WHERE id = ?", rule.id);
  });
  return api::reply(204);
}

}  // namespace

void add_access_rule_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string all = "/v3/users/{user_id}/access_rules", one = all + "/{access_rule_id}";
  to.push_back({"GET", all, "identity:list_access_rules", on(list)});
  to.push_back({"GET", one, "identity:get_access_rule", on(show)});
  to.push_back({"DELETE", one, "identity:delete_access_rule", on(erase)});
}

}  // namespace virga::identity
