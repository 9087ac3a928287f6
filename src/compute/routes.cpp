#include "compute/routes.h"

namespace virga::compute {

api::Target own_target(const api::Call& call) {
  return {{"project_id", call.caller().project_id}, {"user_id", call.caller().user_id}};
}

bool is_admin(const api::Call& call) {
  return call.caller().has_role("admin");
}

namespace {

std::string_view check_of(Level level) {
  switch (level) {
    case Level::reader:
      return kReaderRule;
    case Level::member:
      return kMemberRule;
    case Level::admin:
      return kAdminRule;
  }
  return kAdminRule;
}

void check_project_in_url(const api::Call& call) {
  const std::string& in_url = call.param("project_id");
  if (in_url == call.caller().project_id || is_admin(call)) return;
  throw Fault(
      FaultKind::bad_request,
      fmt::format("Malformed request URL: URL's project_id '{}' doesn't match Context's project_id '{}'",
                  in_url, call.caller().project_id));
}

}  // namespace

void Routes::add(std::string_view method, const std::string& path, const std::string& rule, Level level,
                 const api::Handler& handler, api::Version min, api::Version max) {
  const std::string_view name = keep("os_compute_api:" + rule);
  const auto plain = [handler](api::Call& call) {
    call.require(own_target(call));
    return handler(call);
  };
  const auto with_project = [handler](api::Call& call) {
    call.require(own_target(call));
    check_project_in_url(call);
    return handler(call);
  };
  for (const char* root : {"/v2.1", "/v2"}) {
    service_.routes.push_back({method, keep(root + path), name, check_of(level), plain, min, max});
    service_.routes.push_back({method, keep(std::string(root) + "/{project_id}" + path), name,
                               check_of(level), with_project, min, max});
  }
}

void Routes::add_admin(const std::string& path, const std::string& rule, const api::Handler& handler) {
  service_.routes.push_back({"GET", keep(path), keep("os_compute_api:" + rule), kAdminRule, handler});
}

void Routes::add_open(std::string_view method, const std::string& path, const api::Handler& handler) {
  service_.routes.push_back({method, keep(path), "", "", handler});
}

}  // namespace virga::compute
