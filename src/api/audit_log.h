#pragma once
// audit.log: who did what to what, and whether it came to pass: one CADF event (DMTF DSP0262) a line for each
// login and each change (POST, PUT, PATCH, DELETE), refused ones too, with the mapping of
// keystonemiddleware's audit filter:
//   POST on a collection: create; POST …/action: update/NAME of the action; other POST: update; PUT, PATCH:
//   update; DELETE: delete; a POST that gives a token: authenticate.
// The target's typeURI is the service's and the path's resources: "service/compute/servers/server". Nothing
// of a body goes in but the action's name and ids. Reads are not audited.

#include <map>
#include <string>
#include <vector>

#include "api/json_log.h"
#include "api/observer.h"

namespace virga::api {

class AuditLog final : public Observer {
 public:
  /// `log` must outlive it.
  explicit AuditLog(JsonLog& log) : log_(log) {}
  void mounted(const Service& service) override;
  void routed(RequestFacts& facts, const http::Request& request) override;
  void answered(const RequestFacts& facts, const http::Response& response) override;

 private:
  /// What a route says of its events, worked out once.
  struct Meaning {
    std::string action, type_uri;
    int target = -1;  ///< which path parameter names the target; -1: none does
    bool names_action = false, is_login = false;
  };
  Meaning meaning_of(const Service& service, const Route& route) const;
  const Meaning* find(const RequestFacts& facts) const;

  JsonLog& log_;
  std::map<const Service*, std::vector<Meaning>> meanings_;
};

}  // namespace virga::api
