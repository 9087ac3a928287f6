#pragma once
// The module behind api.h.

#include "enrolment/api.h"
#include "enrolment/ca.h"
#include "enrolment/table.h"

namespace virga::enrolment {

/// Throws Fault(bad_request).
void check_hostname(const std::string& name);
/// A token of this kind that may be used with this key under this name. Throws Fault(forbidden).
TokenRow need_token(db::Tx& tx, std::string_view kind, const std::string& secret, const std::string& key, const std::string& hostname, Time now);
Fault unknown_token();
std::string need_text(const json::object& body, std::string_view name, size_t most);

class EnrolmentService final : public Enrolment {
 public:
  EnrolmentService(Options options, db::Database& database, const Clock& clock);
  api::Service& service() override { return service_; }
  std::string ca() override { return ca_.pair().certificate; }
  PemPair controller_certificate(const std::vector<std::string>& names) override;
  bool admit(db::Tx& tx, const PeerProof& proof, const std::string& hostname) override;
  void settle_certificate(db::Tx& tx, const PeerProof& proof) override;
  std::string renew(const HostId& host, const std::string& request) override;
  bool remove(db::Tx& tx, const HostId& host) override;

 private:
  void add_routes();
  http::Response create_token(api::Call& call);
  http::Response list_tokens(api::Call& call);
  http::Response delete_token(api::Call& call);
  http::Response enrol(api::Call& call);
  http::Response join_controller(api::Call& call);
  http::Response list_controllers(api::Call& call);
  /// ADDRESS:PORT of the links of all that live, this one's first.
  json::array links();
  http::Response list_hosts(api::Call& call);
  std::string sign(const HostId& host, const std::string& hostname, const std::string& request);
  json::object answer_for(const HostId& host, const std::string& certificate);

  const Options options_;
  db::Database& database_;
  const Clock& clock_;
  HostsCa ca_;
  api::Service service_;
};

}  // namespace virga::enrolment
