// {"application_credential": {"id": …, "secret": …}}, or "name" with "user" in place of the id.
#include <fmt/format.h>

#include "identity/auth.h"
#include "identity/secrets.h"

namespace virga::identity {
namespace {

std::optional<ApplicationCredentialRow> find_credential(db::Tx& tx, const json::object& data) {
  if (has_value(data, "id"))
    return find_application_credential(tx, need_string(data, "id", "application credential"));
  if (!has_value(data, "name")) expecting("id or name", "application credential");
  const auto user = named_user(tx, need_object(data, "user", "application_credential"));
  if (!user) return std::nullopt;
  return find_application_credential_by_name(tx, user->id,
                                             need_string(data, "name", "application credential"));
}

}  // namespace

void check_application_credential_method(Attempt& a) {
  if (has_value(a.auth, "scope"))
    throw Fault(FaultKind::unauthorized,
                "Error authenticating with application credential: Application credentials cannot request a "
                "scope.");
  const auto credential = a.core.database.read([&](db::Tx& tx) { return find_credential(tx, a.data); });
  const std::string secret = find_string(a.data, "secret");
  const bool right = verify_secret(a.core, credential ? credential->id : "", secret,
                                   credential ? credential->secret_hash : "");
  if (!credential && has_value(a.data, "id"))  // ids are random: to know one tells nothing
    throw Fault(FaultKind::not_found,
                fmt::format("Could not find Application Credential: {}.", find_string(a.data, "id")));
  if (!right || credential->expired(a.core.clock.now())) refuse_authentication();
  a.prove(credential->user_id);
  a.delegate(Delegation::application_credential, credential->id, credential->project_id);
  a.proof.methods |= method_application_credential;
}

}  // namespace virga::identity
