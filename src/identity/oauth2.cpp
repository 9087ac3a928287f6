// POST /v3/OS-OAUTH2/token: OAuth 2.0's client credentials (RFC 6749, 4.4). The client is an application
// credential, the access token a token of ours.
#include <fmt/format.h>

#include "base/crypto.h"
#include "identity/auth.h"
#include "identity/routes.h"

namespace virga::identity {
namespace {

/// A refusal in OAuth's form.
struct Refusal {
  int status;
  std::string error, description;
};

http::Response render(const api::Call& call, const Refusal& refusal) {
  http::Response r = api::reply(
      refusal.status, json::object{{"error", refusal.error}, {"error_description", refusal.description}});
  if (refusal.status == 401)
    r.headers.set("WWW-Authenticate", fmt::format("Keystone uri=\"{}/identity\"", call.cloud_url));
  return r;
}

[[noreturn]] void no_client(std::string description) {
  throw Refusal{401, "invalid_client", std::move(description)};
}

struct Client {
  std::string id, secret;
};

Client read_client(const api::Call& call) {
  const std::string_view header = call.request.headers.get("Authorization");
  if (header.empty()) no_client("OAuth2.0 client authorization is required.");
  const size_t space = std::min(header.find(' '), header.size());
  std::string type(header.substr(0, space));
  std::transform(type.begin(), type.end(), type.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (type != "basic")
    no_client(fmt::format("OAuth2.0 client authorization type {} is not supported.", type));
  std::string plain;
  const bool readable = base64_decode(header.substr(std::min(space + 1, header.size())), plain);
  const size_t colon = plain.find(':');
  if (!readable || colon == std::string::npos || colon == 0 || colon + 1 == plain.size())
    no_client("OAuth2.0 client authorization is invalid.");
  return {plain.substr(0, colon), plain.substr(colon + 1)};
}

std::optional<std::string> form_value(std::string_view body, std::string_view name) {
  while (!body.empty()) {
    const std::string_view pair = body.substr(0, body.find('&'));
    body.remove_prefix(std::min(pair.size() + 1, body.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (http::percent_decode(pair.substr(0, equals), true) == name)
      return http::percent_decode(pair.substr(std::min(equals + 1, pair.size())), true);
  }
  return std::nullopt;
}

void check_grant_type(const api::Call& call) {
  const auto type = form_value(call.request.body, "grant_type");
  if (!type) throw Refusal{400, "invalid_request", "The parameter grant_type is required."};
  if (*type != "client_credentials")
    throw Refusal{400, "unsupported_grant_type",
                  fmt::format("The parameter grant_type {} is not supported.", *type)};
}

std::shared_ptr<Session> log_in_as(Core& core, const api::Call& call, const Client& client) {
  try {
    return log_in(core, call,
                  {{"identity",
                    {{"methods", json::array{"application_credential"}},
                     {"application_credential", {{"id", client.id}, {"secret", client.secret}}}}}});
  } catch (const Fault& fault) {
    if (fault.status() == 401) no_client(fault.message);
    if (fault.status() == 400) throw Refusal{400, "invalid_request", fault.message};
    throw Refusal{fault.status(), "other_error",
                  "An unknown error occurred and failed to get an OAuth2.0 access token."};
  }
}

http::Response create_token(Core& core, api::Call& call) {
  try {
    const Client client = read_client(call);
    check_grant_type(call);
    const auto session = log_in_as(core, call, client);
    const auto left =
        std::chrono::duration_cast<std::chrono::seconds>(session->token.expires - core.clock.now());
    http::Response r = api::reply(200, json::object{{"access_token", core.keys.seal(pack(session->token))},
                                                    {"token_type", "Bearer"},
                                                    {"expires_in", left.count()}});
    r.headers.set("Cache-Control", "no-store");
    return r;
  } catch (const Refusal& refusal) {
    return render(call, refusal);
  }
}

http::Response refuse_method(api::Call& call) {
  http::Response r = render(call, {405, "other_error", "The method is not allowed for the requested URL."});
  r.headers.set("Allow", "POST");
  return r;
}

}  // namespace

void add_oauth2_routes(Core& core, Routes& to) {
  constexpr std::string_view path = "/v3/OS-OAUTH2/token";
  to.push_back({"POST", path, "", [&core](api::Call& call) { return create_token(core, call); }});
  for (const char* method : {"GET", "PUT", "PATCH", "DELETE"})
    to.push_back({method, path, "", refuse_method});
}

}  // namespace virga::identity
