// GET /v3/OS-REVOKE/events, and what is listed there.
#include "identity/revocations.h"

#include "identity/faults.h"
#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

/// Tokens from before are over by then, whatever their life (30 days at most, base/config.cpp).
constexpr std::chrono::days kKept{31};

std::optional<Time> read_since(const api::Call& call) {
  const auto text = call.request.query_value("since");
  if (!text || text->empty()) return std::nullopt;
  try {
    return parse_time(*text);
  } catch (const Fault&) {
    refuse_body("invalidate date format " + *text);
  }
}

json::object event_view(const db::Row& r) {
  json::object out;
  constexpr const char* kNames[] = {"user_id", "project_id", "domain_id", "OS-TRUST:trust_id", "audit_id"};
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (!r.is_null(i)) out[kNames[i]] = r.text(i);
  const std::string at = to_iso_us(parse_time(r.text(5)));
  out["issued_before"] = at;
  out["revoked_at"] = at;
  return out;
}

http::Response list_events(Core& core, api::Call& call) {
  const auto since = read_since(call);
  const auto rows = core.database.read([&](db::Tx& tx) {
    return tx.query(
        "SELECT user_id, project_id, domain_id, trust_id, audit_id, revoked_at FROM "
        "identity_revocation_events WHERE revoked_at >= ? ORDER BY revoked_at, id",
        since ? *since : core.clock.now() - kKept);
  });
  json::array out;
  for (const auto& row : rows) out.push_back(event_view(row));
  return list_reply(call, "events", std::move(out));
}

}  // namespace

void record_revocation(db::Tx& tx, const Revoked& what, Time now) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? std::nullopt : std::optional<std::string>(text);
  };
  tx.exec("DELETE FROM identity_revocation_events WHERE revoked_at < ?", now - kKept);
  tx.exec(
      "INSERT INTO identity_revocation_events (id, user_id, project_id, domain_id, trust_id, audit_id, "
      "revoked_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
      new_hex_id(), or_null(what.user_id), or_null(what.project_id), or_null(what.domain_id),
      or_null(what.trust_id), or_null(what.audit_id), now);
}

void add_revocation_routes(Core& core, Routes& to) {
  to.push_back({"GET", "/v3/OS-REVOKE/events", "identity:list_revoke_events",
                [&core](api::Call& call) { return list_events(core, call); }});
}

}  // namespace virga::identity
