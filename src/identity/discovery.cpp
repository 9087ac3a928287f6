// Version documents at "/", "/v3". Clients read the links to find everything else.
#include "identity/json_home.h"
#include "identity/routes.h"

namespace virga::identity {
namespace {

json::object version_document(const api::Call& call) {
  return {{"id", "v3.14"},
          {"status", "stable"},
          {"updated", "2020-04-07T00:00:00Z"},
          {"links", json::array{json::object{{"rel", "self"}, {"href", call.base_url + "/v3/"}}}},
          {"media-types", json::array{json::object{{"base", "application/json"},
                                                   {"type", "application/vnd.openstack.identity-v3+json"}}}}};
}

http::Response show_versions(api::Call& call) {
  http::Response r = api::reply(
      300, json::object{{"versions", json::object{{"values", json::array{version_document(call)}}}}});
  r.headers.set("Location", call.base_url + "/v3/");
  return r;
}

http::Response show_version(api::Call& call) {
  return api::reply(200, json::object{{"version", version_document(call)}});
}

/// `routes` is the service's whole table by the time somebody asks.
http::Response home_reply(const Routes& routes, std::string_view prefix) {
  http::Response r = api::reply(200, home_document(routes, prefix));
  r.headers.set("Content-Type", "application/json-home");
  return r;
}

bool wants_home(const api::Call& call) {
  return wants_home_document(call.request.headers.get("Accept"));
}

}  // namespace

void add_discovery_routes(Core&, Routes& to) {
  to.push_back({"GET", "/", "", [&to](api::Call& call) {
                  return wants_home(call) ? home_reply(to, "/v3") : show_versions(call);
                }});
  to.push_back({"GET", "/v3", "", [&to](api::Call& call) {
                  return wants_home(call) ? home_reply(to, "") : show_version(call);
                }});
}

}  // namespace virga::identity
