#pragma once
// The catalogue: the cloud's own services, whose endpoints follow from the URL a client used, and rows added
// by hand.

#include <optional>
#include <set>
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
// One of them, or Fault(not_found).
ServiceRow get_service(const Core& core, db::Tx& tx, const std::string& id);
EndpointRow get_endpoint(const Core& core, db::Tx& tx, const std::string& id, const std::string& cloud_url);
json::object endpoint_view(const api::Call& call, const EndpointRow& endpoint);
/// The endpoints that the endpoint filter leaves a project, directly or by endpoint groups; nullopt if it has
/// no filter or that lets nothing through, and so gets all.
std::optional<std::set<std::string>> filtered_endpoints(db::Tx& tx, const std::string& project_id,
                                                        const std::vector<EndpointRow>& all);
/// Associations with an endpoint or service that is gone.
void forget_endpoint(db::Tx& tx, const std::string& endpoint_id);
void forget_service(db::Tx& tx, const std::string& service_id);

/// The catalogue of a scoped token, as JSON text.
std::shared_ptr<const std::string> catalog_text(Core& core, const std::string& cloud_url,
                                                const api::Caller& caller);

}  // namespace virga::identity
