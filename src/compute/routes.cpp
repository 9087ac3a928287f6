#include "compute/routes.h"

namespace virga::compute {

api::Target own_target(const api::Call& call) {
  return {{"project_id", call.caller().project_id}, {"user_id", call.caller().user_id}};
}

namespace {

void check_project_in_url(const api::Call& call) {
  const std::string& in_url = call.param("project_id");
  if (in_url == call.caller().project_id || call.caller().is_admin()) return;
  throw Fault(
      FaultKind::bad_request,
      fmt::format("Malformed request URL: URL's project_id '{}' doesn't match Context's project_id '{}'",
                  in_url, call.caller().project_id));
}

}  // namespace

void Routes::add(std::string_view method, const std::string& path, const std::string& rule,
                 const api::Handler& handler, api::Version min, api::Version max) {
  const std::string_view name = keep(rule.starts_with("compute:") ? rule : "os_compute_api:" + rule);
  const auto plain = [handler](api::Call& call) {
    call.require(own_target(call));
    return handler(call);
  };
  const auto with_project = [handler](api::Call& call) {
    call.require(own_target(call));
    check_project_in_url(call);
    return handler(call);
  };
  const auto add = [&](std::string full, const api::Handler& of) {
    service_.routes.push_back({method, keep(std::move(full)), name, of, min, max});
    service_.routes.back().chooses_policy = true;  // both ask it, of the caller's own project
  };
  for (const char* root : {"/v2.1", "/v2"}) {
    add(root + path, plain);
    add(std::string(root) + "/{project_id}" + path, with_project);
  }
}

void Routes::add_admin(const std::string& path, const std::string& rule, const api::Handler& handler) {
  service_.routes.push_back({"GET", keep(path), keep("os_compute_api:" + rule), handler});
}

void Routes::add_open(std::string_view method, const std::string& path, const api::Handler& handler) {
  service_.routes.push_back({method, keep(path), "", handler});
}

}  // namespace virga::compute
