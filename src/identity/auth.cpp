// POST /v3/auth/tokens: a proof becomes a token, or, where rules ask for more than was proved, a receipt.
#include "identity/auth.h"

#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/login.h"
#include "identity/mfa.h"
#include "identity/routes.h"
#include "identity/trust_table.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

/// Thrown with an answer that is no fault of keystone's usual form.
struct OtherAnswer {
  http::Response response;
};

constexpr std::string_view kReceiptHeader = "Openstack-Auth-Receipt";

/// Names the methods there are.
[[noreturn]] void unsupported_method() {
  json::array names;
  for (const auto& method : auth_methods())
    if (method.check) names.emplace_back(method.name);
  throw OtherAnswer{api::reply(401, {{"error",
                                      {{"code", 401},
                                       {"title", "Unauthorized"},
                                       {"message", "Attempted to authenticate with an unsupported method."},
                                       {"identity", {{"methods", std::move(names)}}}}}})};
}

const AuthMethod& find_method(std::string_view name) {
  for (const auto& method : auth_methods())
    if (method.name == name && method.check) return method;
  unsupported_method();
}

Proof check_identity(Core& core, const api::Call& call, const json::object& auth) {
  const json::object& identity = need_object(auth, "identity", "auth");
  const json::array* names = find_array(identity, "methods");
  if (!names || names->empty())
    refuse_body("'methods' is a required property, and must be a list of method names.");
  std::vector<std::string> wanted;
  for (const auto& name : *names) {
    if (!name.is_string()) refuse_body("'methods' must be a list of method names.");
    if (std::find(wanted.begin(), wanted.end(), str(name)) == wanted.end()) wanted.push_back(str(name));
  }
  for (const auto& name : wanted)
    if (!identity.contains(name)) expecting(name, "identity");
  std::vector<const AuthMethod*> methods;
  for (const auto& name : wanted) methods.push_back(&find_method(name));
  Proof proof;
  for (const auto* method : methods) {
    Attempt attempt{core, call, auth, need_object(identity, method->name, "identity"), proof};
    method->check(attempt);
  }
  return proof;
}

/// Adds what an earlier request proved. A receipt ends with its user's password.
void add_receipt(Core& core, const api::Call& call, const UserRow& user, Proof& proof) {
  const std::string_view text = call.request.headers.get(kReceiptHeader);
  if (text.empty()) return;
  const auto plain = core.keys.open(text);
  const auto receipt = plain ? unpack_receipt(*plain) : std::nullopt;
  if (!receipt || receipt->expires <= core.clock.now() || receipt->user_id != user.id ||
      receipt->user_generation != static_cast<uint64_t>(user.generation))
    throw Fault(FaultKind::unauthorized, fmt::format("Could not find auth receipt: {}.", text));
  proof.methods |= receipt->methods;
}

[[noreturn]] void give_receipt(Core& core, const UserRow& user, const std::string& domain_name,
                               const std::vector<MfaRule>& rules, uint16_t methods) {
  Receipt receipt{methods, user.id, core.clock.now(), {}, static_cast<uint64_t>(user.generation)};
  receipt.expires =
      Time(std::chrono::floor<std::chrono::seconds>(receipt.issued + core.options.receipt_lifetime));
  const auto names = method_names(methods);
  http::Response r = api::reply(401, {{"receipt",
                                       {{"methods", json::array(names.begin(), names.end())},
                                        {"user",
                                         {{"domain", {{"id", user.domain_id}, {"name", domain_name}}},
                                          {"id", user.id},
                                          {"name", user.name}}},
                                        {"expires_at", to_iso_us(receipt.expires)},
                                        {"issued_at", to_iso_us(receipt.issued)}}},
                                      {"required_auth_methods", required_methods(rules, methods)}});
  r.headers.set(kReceiptHeader, core.keys.seal(pack(receipt)));
  throw OtherAnswer{std::move(r)};
}

/// The user who proved enough; whoever proved part of it gets a receipt.
UserRow check_rules(Core& core, const api::Call& call, Proof& proof) {
  std::string domain_name;
  const auto user = core.database.read([&](db::Tx& tx) {
    auto row = find_user(tx, proof.user_id);
    const auto domain = row ? find_project(tx, row->domain_id) : std::nullopt;
    domain_name = domain ? domain->name : "";
    return row;
  });
  if (!user || !is_enabled(core, *user)) refuse_authentication();
  add_receipt(core, call, *user, proof);
  const auto rules = mfa_rules(user->options, proof.methods);
  if (!enough(rules, proof.methods)) give_receipt(core, *user, domain_name, rules, proof.methods);
  return *user;
}

/// Without a scope the user's default project counts, if the user has a role there; else the token is
/// unscoped.
std::shared_ptr<Session> default_session(Core& core, db::Tx& tx, Token token) {
  const auto user = find_user(tx, token.user_id);
  if (user && !user->default_project_id.empty()) {
    token.scope = Scope::project;
    token.scope_id = user->default_project_id;
    if (auto session = core.begin_session(tx, token)) return session;
    token.scope = Scope::unscoped;
    token.scope_id.clear();
  }
  return core.begin_session(tx, token);
}

/// The session asked for; null if the rows do not allow it.
std::shared_ptr<Session> scoped_session(Core& core, db::Tx& tx, const json::object& auth, const Proof& proof,
                                        Token token) {
  if (token.delegation == Delegation::none) {
    if (!read_scope(tx, core, auth, token)) return default_session(core, tx, token);
    auto session = core.begin_session(tx, token);
    if (!session && token.delegation == Delegation::trust) forbid();
    return session;
  }
  Token asked = token;
  asked.delegation = Delegation::none;
  if (read_scope(tx, core, auth, asked) &&
      (asked.scope != Scope::project || asked.scope_id != proof.project_id))
    forbid_action("A token with delegated rights keeps its scope");
  token.scope = Scope::project;
  token.scope_id = proof.project_id;
  return core.begin_session(tx, token);
}

/// False if the password was changed, or the user's tokens ended, while the proof was being checked.
bool still_holds(Core& core, db::Tx& tx, const Proof& proof) {
  if (proof.parent && !core.load(tx, *proof.parent)) return false;
  if (!proof.generation) return true;
  const auto user = find_user(tx, proof.user_id);
  return user && user->generation == *proof.generation;
}

bool wants_trust(const json::object& auth) {
  const json::object* scope = find_object(auth, "scope");
  return scope && scope->contains("OS-TRUST:trust");
}

/// A trust's use is taken in the transaction that decides about the token, so that of several takers of the
/// last one only one gets it.
std::shared_ptr<Session> make_session(Core& core, const json::object& auth, const Proof& proof) {
  const Token token = new_token(core, proof);
  const auto make = [&](db::Tx& tx) {
    auto session = scoped_session(core, tx, auth, proof, token);
    if (!session || !still_holds(core, tx, proof)) return std::shared_ptr<Session>();
    if (session->trust) consume_trust(tx, session->trust->id);
    return session;
  };
  return wants_trust(auth) ? core.database.write(make) : core.database.read(make);
}

/// May throw OtherAnswer.
std::shared_ptr<Session> authenticate(Core& core, const api::Call& call, const json::object& auth) {
  Proof proof = check_identity(core, call, auth);
  const UserRow user = check_rules(core, call, proof);
  auto session = make_session(core, auth, proof);
  if (!session || (proof.generation && !note_login(core, user))) refuse_authentication();
  return session;
}

http::Response create_token(Core& core, api::Call& call) {
  try {
    const auto session = authenticate(core, call, call.body_of("auth"));
    return token_reply(core, call, 201, *session, core.keys.seal(pack(session->token)));
  } catch (OtherAnswer& answer) {
    return std::move(answer.response);
  }
}

}  // namespace

std::shared_ptr<Session> log_in(Core& core, const api::Call& call, const json::object& auth) {
  try {
    return authenticate(core, call, auth);
  } catch (const OtherAnswer&) {
    refuse_authentication();
  }
}

Token new_token(const Core& core, const Proof& proof) {
  Token t;
  t.methods = proof.methods;
  t.user_id = proof.user_id;
  t.delegation = proof.delegation;
  t.delegation_id = proof.delegation_id;
  t.issued = core.clock.now();
  t.audit_id = random_bytes(16);
  t.expires = Time(std::chrono::floor<std::chrono::seconds>(t.issued + core.options.token_lifetime));
  if (proof.parent) {
    t.expires = proof.parent->expires;
    t.parent_audit_id =
        proof.parent->parent_audit_id.empty() ? proof.parent->audit_id : proof.parent->parent_audit_id;
  }
  return t;
}

void add_auth_routes(Core& core, Routes& to) {
  to.push_back(
      {"POST", "/v3/auth/tokens", "", [&core](api::Call& call) { return create_token(core, call); }});
}

}  // namespace virga::identity
