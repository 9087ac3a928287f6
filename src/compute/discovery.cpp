#include "compute/misc_routes.h"

namespace virga::compute {
namespace {

struct VersionRow {
  std::string_view id, status, version, min_version, updated;
};
constexpr VersionRow kVersions[] = {{"v2.0", "SUPPORTED", "", "", "2011-01-21T11:33:21Z"},
                                    {"v2.1", "CURRENT", "2.93", "2.1", "2013-07-23T11:33:21Z"}};

json::array media_types(const VersionRow& row) {
  const bool old = row.id == "v2.0";
  return {json::object{{"base", "application/json"},
                       {"type", old ? "application/vnd.openstack.compute+json;version=2"
                                    : "application/vnd.openstack.compute+json;version=2.1"}}};
}

std::string root_of(const api::Call& call, const VersionRow& row) {
  return call.base_url + (row.id == "v2.0" ? "/v2/" : "/v2.1/");
}

json::object brief(const api::Call& call, const VersionRow& row) {
  return {{"id", row.id},
          {"status", row.status},
          {"version", row.version},
          {"min_version", row.min_version},
          {"updated", row.updated},
          {"links", json::array{json::object{{"rel", "self"}, {"href", root_of(call, row)}}}}};
}

json::object full(const api::Call& call, const VersionRow& row) {
  auto view = brief(call, row);
  view["links"].as_array().push_back(
      json::object{{"rel", "describedby"}, {"type", "text/html"}, {"href", "http://docs.openstack.org/"}});
  view["media-types"] = media_types(row);
  return view;
}

http::Response list(api::Call& call) {
  json::array all;
  for (const auto& row : kVersions) all.push_back(brief(call, row));
  return api::reply(200, json::object{{"versions", std::move(all)}});
}

/// nova's extension list is frozen since 2.1: names that clients still ask for.
struct Extension {
  std::string_view alias, name;
};
constexpr Extension kExtensions[] = {{"os-keypairs", "Keypairs"},
                                     {"os-aggregates", "Aggregates"},
                                     {"os-quota-sets", "Quotas"},
                                     {"os-availability-zone", "AvailabilityZone"},
                                     {"os-hypervisors", "Hypervisors"},
                                     {"os-hosts", "Hosts"},
                                     {"os-security-groups", "SecurityGroups"},
                                     {"os-services", "Services"},
                                     {"os-simple-tenant-usage", "SimpleTenantUsage"},
                                     {"os-server-groups", "ServerGroups"},
                                     {"os-consoles", "Consoles"},
                                     {"os-console-output", "ConsoleOutput"},
                                     {"os-instance-actions", "InstanceActions"},
                                     {"OS-DCF", "DiskConfig"},
                                     {"OS-EXT-AZ", "ExtendedAvailabilityZone"},
                                     {"OS-EXT-IPS", "ExtendedIps"},
                                     {"OS-EXT-IPS-MAC", "ExtendedIpsMac"},
                                     {"OS-EXT-SRV-ATTR", "ExtendedServerAttributes"},
                                     {"OS-EXT-STS", "ExtendedStatus"},
                                     {"OS-FLV-DISABLED", "FlavorDisabled"},
                                     {"OS-FLV-EXT-DATA", "FlavorExtraData"},
                                     {"os-flavor-access", "FlavorAccess"},
                                     {"os-flavor-extra-specs", "FlavorExtraSpecs"},
                                     {"os-flavor-manage", "FlavorManage"},
                                     {"os-multiple-create", "MultipleCreate"},
                                     {"os-remote-consoles", "Consoles"},
                                     {"OS-SCH-HNT", "SchedulerHints"},
                                     {"OS-SRV-USG", "ServerUsage"},
                                     {"os-user-data", "UserData"},
                                     {"os-config-drive", "ConfigDrive"},
                                     {"os-quota-class-sets", "QuotaClasses"},
                                     {"os-used-limits", "UsedLimits"},
                                     {"os-admin-actions", "AdminActions"},
                                     {"os-lock-server", "LockServer"},
                                     {"os-attach-interfaces", "AttachInterfaces"},
                                     {"os-server-password", "ServerPassword"}};

json::object extension_view(const Extension& e) {
  return {{"alias", e.alias},
          {"name", e.name},
          {"namespace", "http://docs.openstack.org/compute/ext/fake_xml"},
          {"updated", "2014-12-03T00:00:00Z"},
          {"description", e.name},
          {"links", json::array()}};
}

}  // namespace

void add_discovery_routes(Routes& routes) {
  routes.add_open("GET", "", list);
  for (const auto& row : kVersions)
    routes.add_open("GET", row.id == "v2.0" ? "/v2" : "/v2.1", [&row](api::Call& call) {
      return api::reply(200, json::object{{"version", full(call, row)}});
    });
  routes.add("GET", "/extensions", "extensions", [](api::Call&) {
    json::array all;
    for (const auto& e : kExtensions) all.push_back(extension_view(e));
    return api::reply(200, json::object{{"extensions", std::move(all)}});
  });
  routes.add("GET", "/extensions/{alias}", "extensions", [](api::Call& call) {
    for (const auto& e : kExtensions)
      if (e.alias == call.param("alias"))
        return api::reply(200, json::object{{"extension", extension_view(e)}});
    throw Fault(FaultKind::not_found, "The resource could not be found.");
  });
}

}  // namespace virga::compute
