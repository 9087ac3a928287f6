// POST /v3/ec2tokens and /v3/s3tokens: a service that got a signed request asks who signed it.
#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/auth.h"
#include "identity/credential_table.h"
#include "identity/ec2_signature.h"
#include "identity/routes.h"
#include "identity/trust_table.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

std::map<std::string, std::string> read_texts(const json::object& in, std::string_view key) {
  std::map<std::string, std::string> out;
  if (const auto* given = find_object(in, key))
    for (const auto& [name, value] : *given)
      out[std::string(name)] = value.is_string() ? str(value) : json::serialize(value);
  return out;
}

SignedRequest read_request(const json::object& in) {
  return {find_string(in, "verb"),  find_string(in, "host"),   find_string(in, "path"),
          read_texts(in, "params"), read_texts(in, "headers"), find_string(in, "body_hash")};
}

/// The member that describes the request, by any name that clients use.
const json::object& signed_part(api::Call& call) {
  const json::object& body = call.body();
  for (const char* name : {"credentials", "credential", "ec2Credentials"})
    if (const auto* found = find_object(body, name)) return *found;
  refuse_authentication();
}

bool same(const std::optional<std::string>& signature, const std::string& given) {
  return signature && !given.empty() && equal_constant_time(*signature, given);
}

/// Some clients leave the port out of what they sign.
bool ec2_matches(const json::object& in, const std::string& secret) {
  SignedRequest request = read_request(in);
  const std::string given = find_string(in, "signature");
  if (same(ec2_signature(request, secret), given)) return true;
  const size_t colon = request.host.rfind(':');
  if (colon == std::string::npos) return false;
  request.host.resize(colon);
  return same(ec2_signature(request, secret), given);
}

bool s3_matches(const json::object& in, const std::string& secret) {
  std::string to_sign;
  if (!base64_decode(find_string(in, "token"), to_sign)) return false;
  return same(s3_signature(to_sign, secret), find_string(in, "signature"));
}

void check_age(const Core& core, const json::object& in) {
  std::optional<Time> time;
  try {
    time = signing_time(read_request(in));
  } catch (const Fault&) {
    refuse_authentication();
  }
  if (time && core.clock.now() > *time + core.options.signature_lifetime) refuse_authentication();
}

/// The token that the credential stands for: with the rights of the token it was made with.
Token token_of(Core& core, db::Tx& tx, const CredentialRow& credential, const json::object& blob) {
  Token t = new_token(core, {.user_id = credential.user_id, .methods = method_ec2});
  t.scope = Scope::project;
  t.scope_id = credential.project_id;
  if (const std::string id = find_string(blob, "trust_id"); !id.empty()) {
    const auto trust = find_trust(tx, id);
    if (!trust || trust->used_up()) refuse_authentication();
    const std::string& maker = trust->impersonation ? trust->trustor_user_id : trust->trustee_user_id;
    if (credential.user_id != maker) refuse_authentication();
    t.delegation = Delegation::trust;
    t.delegation_id = id;
    t.user_id = trust->trustee_user_id;
  } else if (const std::string id = find_string(blob, "app_cred_id"); !id.empty()) {
    t.delegation = Delegation::application_credential;
    t.delegation_id = id;
  } else if (const std::string id = find_string(blob, "access_token_id"); !id.empty()) {
    t.delegation = Delegation::access_token;
    t.delegation_id = id;
  }
  return t;
}

using Matches = bool (*)(const json::object&, const std::string& secret);

http::Response authenticate(Core& core, api::Call& call, Matches matches) {
  const json::object& in = signed_part(call);
  const std::string id = ec2_credential_id(find_string(in, "access"));
  const auto session = core.database.read([&](db::Tx& tx) {
    const auto credential = find_credential(core, tx, id);
    if (!credential || credential->type != "ec2") refuse_authentication();
    const json::object blob = read_json(credential->blob);
    const std::string secret = find_string(blob, "secret");
    if (secret.empty() || !matches(in, secret)) refuse_authentication();
    check_age(core, in);
    return core.begin_session(tx, token_of(core, tx, *credential, blob));
  });
  if (!session) refuse_authentication();
  return token_reply(core, call, 200, *session, core.keys.seal(pack(session->token)));
}

}  // namespace

// Whoever sees a signed request could turn it into a token here, so only services may ask (keystone since
// 2025); older services have no token to show.
void add_ec2_token_routes(Core& core, Routes& to) {
  const auto add = [&](const char* path, const char* policy, Matches matches) {
    const bool open = core.options.signatures_without_token;
    to.push_back({"POST", path, open ? "" : policy,
                  [&core, matches](api::Call& call) { return authenticate(core, call, matches); }});
  };
  add("/v3/ec2tokens", "identity:ec2tokens_validate", ec2_matches);
  add("/v3/s3tokens", "identity:s3tokens_validate", s3_matches);
}

}  // namespace virga::identity
