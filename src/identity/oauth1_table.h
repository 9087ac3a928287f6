#pragma once
// OAuth 1.0a: rows and the SQL that reads them.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"
#include "db/api.h"

namespace virga::identity {

struct ConsumerRow {
  std::string id, secret;
  std::optional<std::string> description;
  json::object extra;
};

struct RequestTokenRow {
  std::string id, secret, consumer_id, project_id, verifier, user_id;
  std::set<std::string> role_ids;
  std::optional<Time> expires_at;
};

struct AccessTokenRow {
  std::string id, secret, consumer_id, project_id, user_id;
  std::set<std::string> role_ids;
  std::optional<Time> expires_at;
  bool expired(Time now) const { return expires_at && *expires_at <= now; }
};

std::optional<ConsumerRow> find_consumer(db::Tx& tx, const std::string& id);
std::optional<RequestTokenRow> find_request_token(db::Tx& tx, const std::string& id);
std::optional<AccessTokenRow> find_access_token(db::Tx& tx, const std::string& id);
std::vector<AccessTokenRow> access_tokens_of(db::Tx& tx, const std::string& user_id);

}  // namespace virga::identity
