#include "enrolment/service.h"

#include "enrolment/rules.h"

namespace virga::enrolment {

EnrolmentService::EnrolmentService(Options options, db::Database& database, const Clock& clock)
    : options_(std::move(options)), database_(database), clock_(clock), ca_(options_.master_key_file, database, clock) {
  service_.name = "virga";
  service_.type = "enrolment";
  service_.title = "Hosts of this cloud";
  service_.prefix = "/enrolment";
  service_.faults = api::FaultStyle::keystone;
  service_.rules = rules();
  add_routes();
}

void EnrolmentService::add_routes() {
  const auto add = [this](const char* method, const char* path, const char* rule,
                          http::Response (EnrolmentService::*handler)(api::Call&)) {
    service_.routes.push_back({method, path, rule, [this, handler](api::Call& call) { return (this->*handler)(call); }});
  };
  add("POST", "/v1/tokens", "enrolment:create_token", &EnrolmentService::create_token);
  add("GET", "/v1/tokens", "enrolment:list_tokens", &EnrolmentService::list_tokens);
  add("DELETE", "/v1/tokens/{token_id}", "enrolment:delete_token", &EnrolmentService::delete_token);
  add("POST", "/v1/hosts", "", &EnrolmentService::enrol);
  add("GET", "/v1/hosts", "enrolment:list_hosts", &EnrolmentService::list_hosts);
  add("POST", "/v1/controllers", "", &EnrolmentService::join_controller);
  add("GET", "/v1/controllers", "enrolment:list_controllers", &EnrolmentService::list_controllers);
}

PemPair EnrolmentService::controller_certificate(const std::vector<std::string>& names) {
  return make_server_certificate(ca_.pair(), names, clock_.now());
}

std::unique_ptr<Enrolment> make_enrolment(Options options, db::Database& database, const Clock& clock) {
  return std::make_unique<EnrolmentService>(std::move(options), database, clock);
}

}  // namespace virga::enrolment
