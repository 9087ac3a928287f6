// One-time tokens: made, listed, taken back. Only a digest of each is kept.

#include "base/crypto.h"
#include "base/fault.h"
#include "enrolment/service.h"

namespace virga::enrolment {
namespace {

constexpr int64_t kDefaultLife = 3600, kControllerLife = 600, kMostLife = 7 * 24 * 3600;  // seconds
constexpr size_t kMostSealed = 16 << 10;                                                 // bytes; a CA takes 1.5 KiB

json::object view(const TokenRow& t) {
  return {{"id", t.id},
          {"kind", t.kind},
          {"hostname", t.hostname.empty() ? json::value(nullptr) : json::value(t.hostname)},
          {"created_at", db_to_iso(t.created_at)},
          {"expires_at", db_to_iso(t.expires_at)},
          {"used_at", t.used_at ? json::value(db_to_iso(*t.used_at)) : json::value(nullptr)},
          {"used_by", t.used_by.empty() ? json::value(nullptr) : json::value(t.used_by)}};
}

int64_t life_of(const json::object& token, const std::string& kind) {
  if (!has_value(token, "expires_in")) return kind == "controller" ? kControllerLife : kDefaultLife;
  const json::value& given = token.at("expires_in");
  if (!given.is_int64() || given.get_int64() < 1 || given.get_int64() > kMostLife)
    throw Fault(FaultKind::bad_request, fmt::format("expires_in must be a number of seconds from 1 to {}.", kMostLife));
  return given.get_int64();
}

}  // namespace

http::Response EnrolmentService::create_token(api::Call& call) {
  const json::object& given = call.body_of("token");
  for (const auto& [name, value] : given)
    if (name != "expires_in" && name != "hostname" && name != "kind" && name != "sealed")
      throw Fault(FaultKind::bad_request, fmt::format("A token has no {}.", std::string_view(name)),
                  "It may have expires_in (seconds), hostname, kind and sealed.");
  if (options_.address.empty())
    throw Fault(FaultKind::conflict, "No other machine reaches this controller.",
                "Set cloud.api_address (or hosts.address) to an address that hosts reach, with network.mode = \"host\"; "
                "then `virga up`.");
  TokenRow token;
  token.kind = find_string(given, "kind", "host");
  if (token.kind != "host" && token.kind != "controller")
    throw Fault(FaultKind::bad_request, "kind must be host or controller.");
  if (token.kind == "controller" && !options_.controllers)
    throw Fault(FaultKind::conflict, "This cloud's database is a file of this controller.",
                "Several controllers share a MariaDB: database.url. See \"Several controllers\" in docs/operations.md.");
  if (has_value(given, "sealed")) {
    if (token.kind != "controller") throw Fault(FaultKind::bad_request, "Only a token that makes a controller has something sealed for it.");
    token.sealed = need_text(given, "sealed", kMostSealed);
  }
  token.id = new_uuid();
  token.hostname = find_string(given, "hostname");
  if (!token.hostname.empty()) check_hostname(token.hostname);
  token.created_by = call.caller().user_id;
  token.created_at = to_db(clock_.now());
  token.expires_at = to_db(clock_.now() + std::chrono::seconds(life_of(given, token.kind)));
  const std::string secret = new_secret();
  database_.write([&](db::Tx& tx) {
    forget_old_tokens(tx, clock_.now());
    insert_token(tx, secret, token);
  });
  json::object shown = view(token);
  shown["secret"] = secret;  // now and never again
  return api::reply(201, json::object{{"token", std::move(shown)}});
}

http::Response EnrolmentService::list_tokens(api::Call&) {
  json::array all;
  for (const auto& token : database_.read([](db::Tx& tx) { return all_tokens(tx); })) all.push_back(view(token));
  return api::reply(200, json::object{{"tokens", std::move(all)}});
}

http::Response EnrolmentService::delete_token(api::Call& call) {
  const std::string id = call.param("token_id");
  if (!database_.write([&](db::Tx& tx) { return enrolment::delete_token(tx, id); }))
    throw Fault(FaultKind::not_found, fmt::format("Token {} could not be found.", id));
  return api::reply(204);
}

}  // namespace virga::enrolment
