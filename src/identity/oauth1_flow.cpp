// How a consumer comes by an access token: request token, authorization, exchange.
#include <fmt/format.h>

#include <charconv>

#include "base/crypto.h"
#include "identity/faults.h"
#include "identity/oauth1.h"
#include "identity/roles_of.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

constexpr std::chrono::seconds kRequestTokenLife{28800}, kAccessTokenLife{86400};
constexpr std::chrono::seconds kClockSkew{600};
constexpr size_t kMaxNonce = 128;

std::string need(const OAuthParameters& parameters, std::string_view name) {
  std::string value = oauth_value(parameters, name);
  if (value.empty()) expecting(name, "request");
  return value;
}

int64_t seconds_of(Time t) {
  return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
}

int64_t read_stamp(const OAuthParameters& parameters, Time now) {
  const std::string text = need(parameters, "oauth_timestamp");
  int64_t stamp = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), stamp);
  if (error != std::errc() || end != text.data() + text.size() || stamp < 0)
    throw Fault(FaultKind::bad_request, "oauth_timestamp must be a number of seconds.");
  if (std::abs(stamp - seconds_of(now)) > kClockSkew.count())
    throw Fault(FaultKind::bad_request, "oauth_timestamp is too far from the server's time.",
                "Check the clocks of both machines.");
  return stamp;
}

/// Remembers the request; false if it was here before.
bool note_nonce(Core& core, const OAuthParameters& parameters, int64_t stamp) {
  const std::string nonce = need(parameters, "oauth_nonce");
  if (nonce.size() > kMaxNonce) throw Fault(FaultKind::bad_request, "oauth_nonce is too long.");
  try {
    core.database.write([&](db::Tx& tx) {
      tx.exec("DELETE FROM identity_oauth_nonces WHERE stamp < ?",
              seconds_of(core.clock.now()) - 2 * kClockSkew.count());
      tx.exec("INSERT INTO identity_oauth_nonces (consumer_id, token_id, stamp, nonce) VALUES (?, ?, ?, ?)",
              oauth_value(parameters, "oauth_consumer_key"), oauth_value(parameters, "oauth_token"), stamp,
              nonce);
    });
  } catch (const db::UniqueViolation&) {
    return false;
  }
  return true;
}

/// The answer of the token endpoints is a form, not JSON.
http::Response form_reply(const std::string& id, const std::string& secret, Time expires) {
  http::Response r;
  r.status = 201;
  r.headers.set("Content-Type", "application/x-www-form-urlencoded");
  r.body = fmt::format("oauth_token={}&oauth_token_secret={}&oauth_expires_at={}", id, secret,
                       http::percent_encode(to_iso_us(expires)));
  return r;
}

http::Response create_request_token(Core& core, api::Call& call) {
  const auto parameters = read_oauth_header(call.request);
  const std::string consumer_id = need(parameters, "oauth_consumer_key");
  const std::string project_id(call.request.headers.get("Requested-Project-Id"));
  if (project_id.empty()) expecting("Requested-Project-Id", "request");
  const auto consumer = core.database.read([&](db::Tx& tx) {
    get_project(tx, project_id);
    return find_consumer(tx, consumer_id);
  });
  if (!consumer) throw Fault(FaultKind::not_found, "Consumer not found");
  check_signed_request(core, call, parameters, *consumer, "");
  const std::string id = new_hex_id(), secret = new_secret();
  const Time expires = core.clock.now() + kRequestTokenLife;
  core.change([&](db::Tx& tx) {
    get_project(tx, project_id);
    tx.exec("DELETE FROM identity_request_tokens WHERE expires_at < ?", core.clock.now());
    tx.exec(
        "INSERT INTO identity_request_tokens (id, secret, consumer_id, project_id, role_ids, expires_at) "
        "VALUES "
        "(?, ?, ?, ?, '[]', ?)",
        id, secret, consumer_id, project_id, expires);
  });
  return form_reply(id, secret, expires);
}

RequestTokenRow get_request_token(Core& core, db::Tx& tx, const std::string& id) {
  auto token = find_request_token(tx, id);
  if (!token) throw Fault(FaultKind::not_found, "Request token not found");
  if (token->expires_at && *token->expires_at <= core.clock.now())
    throw Fault(FaultKind::unauthorized, "Request token is expired");
  return *token;
}

std::string role_named(db::Tx& tx, const std::string& name) {
  const auto rows = tx.query("SELECT id FROM identity_roles WHERE name = ? AND domain_id = ''", name);
  if (rows.empty()) not_found("role", name);
  return rows.front().text(0);
}

/// Ids of the roles that the body names, by id or by name.
std::set<std::string> read_roles(db::Tx& tx, const json::array& given) {
  std::set<std::string> out;
  for (const auto& item : given) {
    const json::object* role = item.if_object();
    if (!role || role->size() != 1 || !(role->contains("id") || role->contains("name")))
      throw Fault(FaultKind::bad_request, "Each of 'roles' must be {\"id\": …} or {\"name\": …}.");
    const std::string id = find_string(*role, "id"), name = find_string(*role, "name");
    if (id.empty() && name.empty())
      throw Fault(FaultKind::bad_request, "A role's id or name must be a string, and not empty.");
    out.insert(id.empty() ? role_named(tx, name) : id);
  }
  return out;
}

std::string new_verifier() {
  constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  std::string out;
  while (out.size() < 8)
    for (unsigned char c : random_bytes(16))
      if (c < 4 * letters.size() && out.size() < 8) out += letters[c % letters.size()];
  return out;
}

std::string to_text(const std::set<std::string>& ids) {
  json::array out;
  for (const auto& id : ids) out.emplace_back(id);
  return json::serialize(out);
}

/// Rights that were given are not given on: they would outlive what they came from.
void refuse_delegated(const api::Caller& c) {
  if (!c.trust_id.empty() || !c.application_credential_id.empty() || !c.access_token_id.empty()) forbid();
}

http::Response authorize(Core& core, api::Call& call) {
  refuse_delegated(call.caller());
  static const json::array none;
  const auto* member = call.body().if_contains("roles");
  if (member && !member->is_array()) throw Fault(FaultKind::bad_request, "'roles' must be a list.");
  const json::array& given = member ? member->get_array() : none;
  const std::string& user_id = call.caller().user_id;
  const std::string verifier = new_verifier();
  core.change([&](db::Tx& tx) {
    const auto token = get_request_token(core, tx, call.param("request_token_id"));
    const auto wanted = read_roles(tx, given);
    const auto held = role_ids_of(tx, user_id, {"project", token.project_id});
    if (!std::includes(held.begin(), held.end(), wanted.begin(), wanted.end()))
      throw Fault(FaultKind::unauthorized, "authorizing user does not have role required");
    tx.exec("UPDATE identity_request_tokens SET user_id = ?, verifier = ?, role_ids = ? WHERE id = ?",
            user_id, verifier, to_text(wanted), token.id);
  });
  return api::reply(200, json::object{{"token", {{"oauth_verifier", verifier}}}});
}

http::Response create_access_token(Core& core, api::Call& call) {
  const auto parameters = read_oauth_header(call.request);
  const std::string consumer_id = need(parameters, "oauth_consumer_key"),
                    request_id = need(parameters, "oauth_token"),
                    verifier = need(parameters, "oauth_verifier");
  std::optional<ConsumerRow> consumer;
  const auto token = core.database.read([&](db::Tx& tx) {
    consumer = find_consumer(tx, consumer_id);
    return get_request_token(core, tx, request_id);
  });
  if (!consumer || token.consumer_id != consumer_id) refuse_authentication();
  check_signed_request(core, call, parameters, *consumer, token.secret);
  if (token.verifier.empty() || !equal_constant_time(token.verifier, verifier)) refuse_authentication();
  const std::string id = new_hex_id(), secret = new_secret();
  const Time expires = core.clock.now() + kAccessTokenLife;
  core.change([&](db::Tx& tx) {
    // It may have been used, or authorized anew, meanwhile.
    const auto now = find_request_token(tx, request_id);
    if (!now || now->verifier != token.verifier || now->user_id.empty()) refuse_authentication();
    tx.exec("DELETE FROM identity_request_tokens WHERE id = ?", request_id);
    tx.exec(
        "INSERT INTO identity_access_tokens (id, secret, consumer_id, project_id, user_id, role_ids, "
        "expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        id, secret, consumer_id, now->project_id, now->user_id, to_text(now->role_ids), expires);
  });
  return form_reply(id, secret, expires);
}

}  // namespace

void check_signed_request(Core& core, const api::Call& call, const OAuthParameters& parameters,
                          const ConsumerRow& consumer, const std::string& token_secret) {
  const int64_t stamp = read_stamp(parameters, core.clock.now());
  // One resource has two addresses, and keystoneclient signs its auth_url's while it sends to the catalogue's.
  const std::string path = call.request.path.substr(call.base_url.size() - call.cloud_url.size());
  const bool right =
      signature_holds(call.request, call.cloud_url + path, parameters, consumer.secret, token_secret) ||
      signature_holds(call.request, call.cloud_url + "/identity" + path, parameters, consumer.secret, token_secret);
  if (!right || !note_nonce(core, parameters, stamp)) refuse_authentication();
}

AccessTokenRow check_access_token(Core& core, const api::Call& call) {
  const auto parameters = read_oauth_header(call.request);
  const std::string token_id = need(parameters, "oauth_token"),
                    consumer_id = need(parameters, "oauth_consumer_key");
  std::optional<ConsumerRow> consumer;
  auto token = core.database.read([&](db::Tx& tx) {
    consumer = find_consumer(tx, consumer_id);
    return find_access_token(tx, token_id);
  });
  if (!token || !consumer || token->consumer_id != consumer_id || token->expired(core.clock.now()))
    refuse_authentication();
  check_signed_request(core, call, parameters, *consumer, token->secret);
  return *token;
}

void add_oauth1_flow_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  to.push_back({"POST", "/v3/OS-OAUTH1/request_token", "", on(create_request_token)});
  to.push_back({"POST", "/v3/OS-OAUTH1/access_token", "", on(create_access_token)});
  to.push_back({"PUT", "/v3/OS-OAUTH1/authorize/{request_token_id}", "identity:authorize_request_token", on(authorize)});
}

}  // namespace virga::identity
