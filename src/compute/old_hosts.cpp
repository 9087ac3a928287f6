// os-hosts, the older view of compute hosts that clients know until microversion 2.42.

#include "compute/hosts.h"
#include "compute/misc_routes.h"

namespace virga::compute {
namespace {

HostRow need_host(Core& core, const std::string& name) {
  for (auto& h : core.database.read([](db::Tx& tx) { return all_hosts(tx); }))
    if (h.hostname == name) return h;
  throw Fault(FaultKind::not_found, fmt::format("Compute host {} could not be found.", name));
}

http::Response list(Core& core, api::Call& call) {
  const std::string zone = call.request.query_value("zone").value_or("");
  json::array all;
  const auto add = [&](std::string_view host, std::string_view service, std::string_view its_zone) {
    if (zone.empty() || zone == its_zone)
      all.push_back(json::object{{"host_name", host}, {"service", service}, {"zone", its_zone}});
  };
  for (const char* service : {"scheduler", "conductor"}) add("virga", service, "internal");
  for (const auto& h : core.database.read([](db::Tx& tx) { return all_hosts(tx); }))
    add(h.hostname, "compute", h.zone);
  return api::reply(200, json::object{{"hosts", std::move(all)}});
}

http::Response show(Core& core, api::Call& call) {
  const HostRow h = need_host(core, call.param("host"));
  json::array rows;
  const auto add = [&](std::string_view project, int64_t cpu, int64_t memory, int64_t disk) {
    rows.push_back(json::object{{"resource", json::object{{"host", h.hostname},
                                                          {"project", project},
                                                          {"cpu", cpu},
                                                          {"memory_mb", memory},
                                                          {"disk_gb", disk}}}});
  };
  add("(total)", h.vcpus, h.memory_mb, h.disk_gb);
  add("(used_now)", h.vcpus_used, h.memory_used, h.disk_used);
  add("(used_max)", h.vcpus_used, h.memory_used, h.disk_used);
  for (const auto& row : core.database.read([&](db::Tx& tx) {
         return tx.query(
             "SELECT s.project_id, SUM(s.vcpus), SUM(s.memory_mb), SUM(s.root_gb + s.ephemeral_gb) FROM "
             "servers s WHERE s.host_id = ? AND s.deleted = 0 GROUP BY s.project_id ORDER BY s.project_id",
             h.id);
       }))
    add(row.text(0), row.integer(1), row.integer(2), row.integer(3));
  return api::reply(200, json::object{{"host", std::move(rows)}});
}

http::Response update(Core& core, api::Call& call) {
  const json::object& body = call.body();
  if (body.empty()) throw Fault(FaultKind::bad_request, "Either 'status' or 'maintenance_mode' is needed.");
  for (const auto& [key, value] : body) {
    const bool known = key == "status" || key == "maintenance_mode";
    std::string text = value.is_string() ? str(value) : "";
    std::transform(text.begin(), text.end(), text.begin(), ::tolower);
    if (!known || (text != "enable" && text != "disable"))
      throw Fault(FaultKind::bad_request,
                  fmt::format("Invalid input for field/attribute {}. Value: {}. It is not one of ['enable', "
                              "'disable'].",
                              std::string_view(key), json::serialize(value)));
  }
  need_host(core, call.param("host"));
  throw Fault(FaultKind::not_implemented, "Virt driver does not implement host disabled status.",
              "Disable its service instead: openstack compute service set --disable HOST nova-compute");
}

http::Response power(Core& core, api::Call& call) {
  need_host(core, call.param("host"));
  throw Fault(FaultKind::not_implemented, "Virt driver does not implement host power management.");
}

}  // namespace

void add_old_host_routes(Routes& routes, Core& core) {
  const auto add = [&](const char* method, const std::string& path, const char* rule,
                       http::Response (*handler)(Core&, api::Call&)) {
    routes.add(method, path, rule, [&core, handler](api::Call& call) { return handler(core, call); },
               {}, {2, 42});
  };
  add("GET", "/os-hosts", "os-hosts:list", list);
  add("GET", "/os-hosts/{host}", "os-hosts:show", show);
  add("PUT", "/os-hosts/{host}", "os-hosts:update", update);
  add("GET", "/os-hosts/{host}/startup", "os-hosts:start", power);
  add("GET", "/os-hosts/{host}/shutdown", "os-hosts:shutdown", power);
  add("GET", "/os-hosts/{host}/reboot", "os-hosts:reboot", power);
}

}  // namespace virga::compute
