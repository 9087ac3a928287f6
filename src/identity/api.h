#pragma once
// Identity: who may use the cloud (Identity API v3). Users, projects, domains, roles and assignments are rows; a token
// is a sealed, self-contained text (nothing is stored for it), checked against the rows so that disabling anything
// takes effect at once.
//
// Threads: everything here is thread-safe.

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/clock.h"
#include "db/api.h"

namespace virga::identity {

/// Keystone's [security_compliance]: 0 and "" turn a rule off.
struct SecurityCompliance {
  int lockout_failure_attempts = 0;
  std::chrono::seconds lockout_duration{1800};  ///< 0: until an administrator enables the user
  int disable_user_account_days_inactive = 0;
  int password_expires_days = 0;
  int unique_last_password_count = 0;
  int minimum_password_age_days = 0;
  std::string password_regex, password_regex_description;
  bool change_password_upon_first_use = false;
};

struct Options {
  std::string master_key_file;                      ///< opens the keys in the database (base/master_key.h)
  std::string key_dir;                              ///< token keys that lie here as files are taken into the database; "" = none
  std::string credential_key_dir;                   ///< the same for those of /v3/credentials
  std::chrono::seconds token_lifetime{3600};
  std::chrono::seconds remember_password{60};       ///< how long a verified password is remembered as a keyed hash; 0 = not
  int bcrypt_cost = 12;                             ///< 4 to 31
  std::string region = "RegionOne";
  std::string limit_model = "flat";                 ///< how unified limits of a hierarchy relate: or "strict_two_level"
  SecurityCompliance security;
  std::chrono::seconds receipt_lifetime{300};         ///< of a login with several factors, between them
  std::chrono::seconds allow_expired_window{172800};  ///< how long services may still ask about a token that is over
  std::chrono::seconds signature_lifetime{900};       ///< how old an EC2 signature may be
  bool signatures_without_token = false;              ///< /v3/ec2tokens and s3tokens for services that have no token
  int totp_previous_windows = 1;                      ///< passcodes of the last half minutes that still count
  int max_active_keys = 3;                            ///< token keys kept at a rotation
  int max_redelegation_count = 3;                     ///< how often a trust may be passed on
};

/// A user and a scope, by names or ids, for `virga policy check`. Without project, domain and system: unscoped.
struct CallerQuestion {
  std::string user, user_domain = "Default";
  std::string project, project_domain = "Default";
  std::string domain;
  bool system = false;
};

/// What `virga up` makes sure of at first start: everything keystone-manage bootstrap makes, idempotent.
struct Bootstrap {
  std::string admin_password;
  std::vector<std::string> service_names;
};

/// What a rotation left.
struct Rotated {
  size_t token_keys = 0;             ///< that there are now
  int64_t credentials_sealed = 0;    ///< again, with the new key
  int64_t credentials_unreadable = 0;  ///< no key opens these; they stay as they are
};

class Identity : public api::Authenticator {
 public:
  /// The service with its routes, to mount. Lives as long as this.
  virtual api::Service& service() = 0;
  /// domain "default", roles admin/member/reader (with implied roles) and "service", project and user admin, the
  /// system and project role assignments, region. Changes nothing that exists, except nothing.
  virtual void bootstrap(const Bootstrap& what) = 0;
  /// The built-in services whose endpoints the catalogue generates from each request's URL. Call before serving.
  virtual void set_catalog(const std::vector<api::Service*>& services) = 0;
  /// Makes the staged token key primary and stages a new one; old tokens stay valid until they expire. With
  /// `credentials` the keys of /v3/credentials too, and what they sealed is sealed again. May take long then.
  virtual Rotated rotate_keys(bool credentials) = 0;
  /// All token keys are new: every token ends. Returns how many keys there are.
  virtual size_t replace_token_keys() = 0;
  /// Takes over what another controller has done to the keys. Cheap if nothing. Throws Fault(unavailable).
  virtual void look_at_keys() = 0;
  /// Whom a token of that user and scope would stand for now. Throws Fault(not_found) that names what is not there, and
  /// Fault(forbidden) if the user would get no such token.
  virtual api::Caller caller_of(const CallerQuestion& question) = 0;
  /// Project name for messages and metadata; nullopt if there is none.
  virtual std::optional<std::string> project_name(db::Tx& tx, const std::string& project_id) = 0;
};

std::unique_ptr<Identity> make_identity(Options options, db::Database& database, api::Policy& policy, const Clock& clock);

}  // namespace virga::identity
