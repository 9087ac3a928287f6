#pragma once
// The catalogue: the cloud's own services, whose endpoints follow from the URL a client used, and rows added
// by hand.

#include <string>
#include <string_view>
#include <vector>

#include "identity/core.h"

namespace virga::identity {

struct EndpointRow {
  std::string id, service_id, interface, region_id, url;
  bool enabled = true;
  bool built_in = false;
  json::object extra;
};

struct ServiceRow {
  std::string id, type, name, description;
  bool enabled = true;
  bool built_in = false;
  json::object extra;
};

/// 32 hexadecimal digits that depend on the name alone.
std::string stable_id(std::string_view name);
std::vector<ServiceRow> all_services(const Core& core, db::Tx& tx);
std::vector<EndpointRow> all_endpoints(const Core& core, db::Tx& tx, const std::string& cloud_url);
/// The catalogue of a scoped token.
json::array catalog_view(const Core& core, db::Tx& tx, const std::string& cloud_url,
                         const api::Caller& caller);

}  // namespace virga::identity
