#pragma once
// Who is calling, as a validated token says.

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace virga::api {

/// What a token may be used for, if it is limited: one method on the paths of one service that the pattern takes.
struct AccessRule {
  std::string id, service, path, method;
  friend bool operator==(const AccessRule&, const AccessRule&) = default;
};

struct Caller {
  std::string user_id, user_name, user_domain_id, user_domain_name;
  // Scope: a project, a domain, the system, or nothing of these (unscoped).
  std::string project_id, project_name, project_domain_id, project_domain_name;
  std::string domain_id, domain_name;
  bool system = false;
  std::vector<std::string> role_ids, role_names;  ///< effective, implied roles included; parallel
  // Where the rights come from, if they are delegated.
  std::string trust_id, application_credential_id, access_token_id;
  bool restricted = false;               ///< an application credential that may not make others, nor trusts
  std::vector<AccessRule> access_rules;  ///< empty: no limit. The dispatcher holds them
  std::string token;                              ///< as the client sent it; never logged
  Time expires;

  std::optional<bool> admin;  ///< what an operator's own context_is_admin says; none: the default in force

  /// An administrator to nova, neutron and glance: sees and changes what is other projects'.
  bool is_admin() const { return admin ? *admin : has_role("admin"); }
  bool has_role(std::string_view name) const {
    return std::find(role_names.begin(), role_names.end(), name) != role_names.end();
  }
};

/// Turns a token into its caller. Implemented by identity.
class Authenticator {
 public:
  virtual ~Authenticator() = default;
  /// Null if the token is malformed, expired, revoked, or of a disabled user, project or domain. Thread-safe; changes
  /// and disabling anything take effect at once.
  virtual std::shared_ptr<const Caller> authenticate(std::string_view token) = 0;
};

}  // namespace virga::api
