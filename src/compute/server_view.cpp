#include "compute/server_view.h"

#include "base/crypto.h"
#include "compute/assignment.h"
#include "compute/materialise.h"
#include "compute/routes.h"

namespace virga::compute {

std::string opaque_host_id(const std::string& project_id, const std::string& hostname) {
  if (hostname.empty()) return {};
  Digest digest("sha224");
  digest.update(project_id);
  digest.update(hostname);
  return digest.finish_hex();
}

namespace {

using api::Version;

/// One answer being written; `base` is where links point.
struct Writer {
  std::string& out;
  const api::Call& call;
  const std::string& base;
  View view;
  /// What servers of a long list have in common, worked out once.
  struct Common {
    std::map<std::string, std::string, std::less<>> host_ids;  ///< project + host -> opaque id
    std::string boot;                                           ///< the text that `plan` was read from
    BootPlan plan;
  };
  Common& common;

  void text(std::string_view v) const { append_json_string(out, v); }
  void number(int64_t v) const {
    const fmt::format_int digits(v);
    out.append(digits.data(), digits.size());
  }
  void maybe(const std::optional<std::string>& v) const { v ? text(*v) : void(out += "null"); }
  void raw(std::string_view v) const { out += v; }
  /// Text that needs no escapes: ids, names of states, times.
  void plain(std::string_view v) const {
    out += '"';
    out += v;
    out += '"';
  }
};

void write_links(const Writer& w, std::string_view kind, std::string_view id, bool self) {
  const auto href = [&](std::string_view rel, std::string_view version) {
    for (const auto part : {std::string_view("{\"rel\":\""), rel, std::string_view("\",\"href\":\""),
                            std::string_view(w.base), version, std::string_view("/"), kind,
                            std::string_view("/"), id, std::string_view("\"}")})
      w.out += part;
  };
  w.raw("[");
  if (self) {
    href("self", "/v2.1");
    w.raw(",");
  }
  href("bookmark", "");
  w.raw("]");
}

std::string iso(const std::string& db_text) {
  // "2026-11-23 12:34:56.000000" -> "2026-11-23T12:34:56Z" without parsing: lists have thousands of these.
  if (db_text.size() < 19) return {};
  std::string text = db_text.substr(0, 19);
  text[10] = 'T';
  return text + 'Z';
}

void write_address(const Writer& w, int version, std::string_view address, std::string_view type,
                   std::string_view mac, bool first) {
  w.raw(first ? "{\"version\":" : ",{\"version\":");
  w.number(version);
  w.raw(",\"addr\":");
  w.plain(address);
  const bool extended = w.view != View::update || w.call.since(2, 75);
  if (extended) {
    w.raw(",\"OS-EXT-IPS:type\":");
    w.plain(type);
    w.raw(",\"OS-EXT-IPS-MAC:mac_addr\":");
    w.plain(mac);
  }
  w.raw("}");
}

void write_addresses(const Writer& w, const Shown& s) {
  w.raw("{");
  std::vector<const std::string*> done;
  for (const auto& named : s.ports) {
    if (std::any_of(done.begin(), done.end(), [&](const auto* n) { return *n == named.network_name; }))
      continue;
    if (!done.empty()) w.raw(",");
    done.push_back(&named.network_name);
    w.text(named.network_name);
    w.raw(":[");
    bool first = true;
    for (const auto& port : s.ports) {
      if (port.network_name != named.network_name) continue;
      for (const auto& ip : port.fixed_ips) {
        write_address(w, ip.version, ip.address, "fixed", port.mac, first);
        first = false;
        for (const auto& floating : port.floating_ips)
          if (floating.fixed == ip.address)
            write_address(w, 4, floating.address, "floating", port.mac, false);
      }
    }
    w.raw("]");
  }
  w.raw("}");
}

void write_metadata(const Writer& w, const Shown& s) {
  w.raw("{");
  bool first = true;
  for (const auto& [name, value] : s.metadata) {
    if (!first) w.raw(",");
    first = false;
    w.text(name);
    w.raw(":");
    w.text(value);
  }
  w.raw("}");
}

void write_image(const Writer& w, const Shown& s) {
  if (s.row.image_id.empty()) return w.plain("");
  w.raw("{\"id\":");
  w.plain(s.row.image_id);
  w.raw(",\"links\":");
  write_links(w, "images", s.row.image_id, false);
  w.raw("}");
}

void write_flavor_link(const Writer& w, const Shown& s) {
  w.raw("{\"id\":");
  w.text(s.row.flavor_id);
  w.raw(",\"links\":");
  write_links(w, "flavors", s.row.flavor_id, false);
  w.raw("}");
}

void write_flavor(const Writer& w, const Shown& s) {
  w.raw("{\"original_name\":");
  w.text(s.row.flavor_name);
  const std::pair<std::string_view, int64_t> sizes[] = {{",\"vcpus\":", s.row.vcpus},
                                                        {",\"ram\":", s.row.memory_mb},
                                                        {",\"disk\":", s.row.root_gb},
                                                        {",\"ephemeral\":", s.row.ephemeral_gb},
                                                        {",\"swap\":", s.row.swap_mb}};
  for (const auto& [name, size] : sizes) {
    w.raw(name);
    w.number(size);
  }
  w.raw(",\"extra_specs\":");
  w.raw(s.row.extra_specs.empty() ? "{}" : s.row.extra_specs);
  w.raw("}");
}

void write_groups(const Writer& w, const Shown& s) {
  std::vector<std::string_view> names;
  for (const auto& port : s.ports)
    for (const auto& name : port.security_group_names)
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  w.raw("[");
  for (size_t i = 0; i < names.size(); ++i) {
    w.raw(i ? ",{\"name\":" : "{\"name\":");
    w.text(names[i]);
    w.raw("}");
  }
  w.raw("]");
}

void write_tags(const Writer& w, const Shown& s) {
  w.raw("[");
  for (size_t i = 0; i < s.tags.size(); ++i) {
    if (i) w.raw(",");
    w.text(s.tags[i]);
  }
  w.raw("]");
}

void write_host_id(const Writer& w, const Shown& s) {
  auto& id = w.common.host_ids[s.row.project_id + "/" + s.row.node];
  if (id.empty() && !s.row.node.empty()) id = opaque_host_id(s.row.project_id, s.row.node);
  w.plain(id);
}

std::string status_of(const Shown& s) {
  return server_status(s.row.vm_state, s.row.task_state.value_or(""));
}

void write_fault(const Writer& w, const Shown& s) {
  fmt::format_to(std::back_inserter(w.out), "{{\"code\":{},\"created\":\"{}\",\"message\":", s.row.fault_code,
                 iso(s.row.fault_at.value_or("")));
  w.text(s.row.fault_message);
  if (!s.row.fault_details.empty() && (s.row.fault_code != 500 || w.call.caller().is_admin())) {
    w.raw(",\"details\":");
    w.text(s.row.fault_details);
  }
  w.raw("}");
}

void write_boot_image(const Writer& w, const Shown& s, std::optional<link::ImageRef> BootPlan::*which) {
  auto& common = w.common;
  if (common.boot != s.row.boot) {
    common.plan = boot_plan(s.row.boot);
    common.boot = s.row.boot;
  }
  const auto& image = common.plan.*which;
  w.plain(image ? std::string_view(image->id.str()) : std::string_view());
}

bool has_progress(const Shown& s) {
  const auto status = status_of(s);
  for (const char* with : {"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"})
    if (status == with) return true;
  return false;
}
bool has_fault(const Shown& s) {
  return s.row.fault_at && (s.row.vm_state == "error" || s.row.vm_state == "deleted");
}
bool has_groups(const Shown& s) {
  return std::any_of(s.ports.begin(), s.ports.end(),
                     [](const auto& p) { return !p.security_group_names.empty(); });
}
void write_nullable_time(const Writer& w, const std::optional<std::string>& time) {
  // nova's OS-SRV-USG times have microseconds and no zone.
  if (!time) return w.raw("null");
  std::string text = *time;
  if (text.size() > 10) text[10] = 'T';
  w.plain(text);
}
void write_node(const Writer& w, const Shown& s) {
  s.row.node.empty() ? w.raw("null") : w.text(s.row.node);
}

enum In : unsigned { kInShow = 1, kInDetail = 2, kInUpdate = 4, kInAll = 7 };

struct AttributeRow {
  std::string_view name;
  Version since, until;  ///< {} = no bound
  unsigned in;           ///< which answers; from 2.75 on an update answers as a show does
  bool admin;
  void (*write)(const Writer&, const Shown&);
  bool (*present)(const Shown&);
};

constexpr Version kAny{};
const AttributeRow kAttributes[] = {
    {"id", kAny, kAny, kInAll, false, [](const Writer& w, const Shown& s) { w.plain(s.row.id); }, nullptr},
    {"name", kAny, kAny, kInAll, false, [](const Writer& w, const Shown& s) { w.text(s.row.name); }, nullptr},
    {"status", kAny, kAny, kInAll, false, [](const Writer& w, const Shown& s) { w.plain(status_of(s)); },
     nullptr},
    {"tenant_id", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.project_id); }, nullptr},
    {"user_id", kAny, kAny, kInAll, false, [](const Writer& w, const Shown& s) { w.plain(s.row.user_id); },
     nullptr},
    {"metadata", kAny, kAny, kInAll, false, write_metadata, nullptr},
    {"hostId", kAny, kAny, kInAll, false, write_host_id, nullptr},
    {"image", kAny, kAny, kInAll, false, write_image, nullptr},
    {"flavor", kAny, {2, 46}, kInAll, false, write_flavor_link, nullptr},
    {"flavor", {2, 47}, kAny, kInAll, false, write_flavor, nullptr},
    {"created", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(iso(s.row.created_at)); }, nullptr},
    {"updated", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(iso(s.row.updated_at)); }, nullptr},
    {"addresses", kAny, kAny, kInAll, false, write_addresses, nullptr},
    {"accessIPv4", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.access_ip_v4); }, nullptr},
    {"accessIPv6", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.access_ip_v6); }, nullptr},
    {"links", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { write_links(w, "servers", s.row.id, true); }, nullptr},
    {"OS-DCF:diskConfig", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.disk_config); }, nullptr},
    {"progress", kAny, kAny, kInAll, false,
     [](const Writer& w, const Shown& s) { w.number(s.row.launched_at ? 100 : 0); }, has_progress},
    {"fault", kAny, kAny, kInAll, false, write_fault, has_fault},
    {"OS-EXT-AZ:availability_zone", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.text(s.row.zone); }, nullptr},
    {"config_drive", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.config_drive ? "True" : ""); }, nullptr},
    {"key_name", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.maybe(s.row.key_name); }, nullptr},
    {"OS-SRV-USG:launched_at", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { write_nullable_time(w, s.row.launched_at); }, nullptr},
    {"OS-SRV-USG:terminated_at", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { write_nullable_time(w, s.row.terminated_at); }, nullptr},
    {"security_groups", kAny, kAny, kInShow | kInDetail, false, write_groups, has_groups},
    {"OS-EXT-STS:task_state", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.maybe(s.row.task_state); }, nullptr},
    {"OS-EXT-STS:vm_state", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.plain(s.row.vm_state); }, nullptr},
    {"OS-EXT-STS:power_state", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown& s) { w.number(s.row.power_state); }, nullptr},
    {"os-extended-volumes:volumes_attached", kAny, kAny, kInShow | kInDetail, false,
     [](const Writer& w, const Shown&) { w.raw("[]"); }, nullptr},
    {"OS-EXT-SRV-ATTR:host", kAny, kAny, kInShow | kInDetail, true, write_node, nullptr},
    {"OS-EXT-SRV-ATTR:instance_name", kAny, kAny, kInShow | kInDetail, true,
     [](const Writer& w, const Shown& s) { w.plain(s.row.instance_name()); }, nullptr},
    {"OS-EXT-SRV-ATTR:hypervisor_hostname", kAny, kAny, kInShow | kInDetail, true, write_node, nullptr},
    {"OS-EXT-SRV-ATTR:reservation_id",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { w.plain(s.row.reservation_id); },
     nullptr},
    {"OS-EXT-SRV-ATTR:launch_index",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { w.number(s.row.launch_index); },
     nullptr},
    {"OS-EXT-SRV-ATTR:hostname",
     {2, 3},
     {2, 89},
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { w.text(s.row.hostname); },
     nullptr},
    {"OS-EXT-SRV-ATTR:hostname",
     {2, 90},
     kAny,
     kInShow | kInDetail,
     false,
     [](const Writer& w, const Shown& s) { w.text(s.row.hostname); },
     nullptr},
    {"OS-EXT-SRV-ATTR:kernel_id",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { write_boot_image(w, s, &BootPlan::kernel); },
     nullptr},
    {"OS-EXT-SRV-ATTR:ramdisk_id",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { write_boot_image(w, s, &BootPlan::ramdisk); },
     nullptr},
    {"OS-EXT-SRV-ATTR:root_device_name",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown&) { w.plain("/dev/vda"); },
     nullptr},
    {"OS-EXT-SRV-ATTR:user_data",
     {2, 3},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { w.maybe(s.row.user_data); },
     nullptr},
    {"locked",
     {2, 9},
     kAny,
     kInAll,
     false,
     [](const Writer& w, const Shown& s) { w.raw(s.row.locked() ? "true" : "false"); },
     nullptr},
    {"host_status",
     {2, 16},
     kAny,
     kInShow | kInDetail,
     true,
     [](const Writer& w, const Shown& s) { w.plain(s.host_status); },
     nullptr},
    {"description",
     {2, 19},
     kAny,
     kInAll,
     false,
     [](const Writer& w, const Shown& s) { w.maybe(s.row.description); },
     nullptr},
    {"tags", {2, 26}, kAny, kInAll, false, write_tags, nullptr},
    {"trusted_image_certificates",
     {2, 63},
     kAny,
     kInAll,
     false,
     [](const Writer& w, const Shown&) { w.raw("null"); },
     nullptr},
    {"server_groups",
     {2, 71},
     kAny,
     kInShow | kInUpdate,
     false,
     [](const Writer& w, const Shown& s) {
       w.raw("[");
       if (!s.row.group_id.empty()) w.plain(s.row.group_id);
       w.raw("]");
     },
     nullptr},
    {"locked_reason",
     {2, 73},
     kAny,
     kInAll,
     false,
     [](const Writer& w, const Shown& s) { w.maybe(s.row.locked_reason); },
     nullptr},
};

bool sees_host_status(const api::Call& call) { return call.allows("os_compute_api:servers:show:host_status", own_target(call)); }

std::vector<const AttributeRow*> attributes_for(const api::Call& call, View view) {
  std::vector<const AttributeRow*> rows;
  const unsigned where = view == View::detail                         ? kInDetail
                         : view == View::update && !call.since(2, 75) ? kInUpdate
                                                                      : kInShow;
  const bool extended = sees_extended(call), status = sees_host_status(call);
  for (const auto& row : kAttributes) {
    if (row.since != kAny && call.version < row.since) continue;
    if (row.until != kAny && call.version > row.until) continue;
    if (!(row.in & where) || (row.admin && !(row.name == "host_status" ? status : extended))) continue;
    rows.push_back(&row);
  }
  return rows;
}

void write_server(const Writer& w, const Shown& shown, const std::vector<const AttributeRow*>& attributes) {
  w.raw("{");
  bool first = true;
  for (const auto* row : attributes) {
    if (row->present && !row->present(shown)) continue;
    if (!first) w.raw(",");
    first = false;
    w.plain(row->name);
    w.raw(":");
    row->write(w, shown);
  }
  w.raw("}");
}

void write_brief(const Writer& w, const Shown& shown) {
  fmt::format_to(std::back_inserter(w.out), "{{\"id\":\"{}\",\"name\":", shown.row.id);
  w.text(shown.row.name);
  w.raw(",\"links\":");
  write_links(w, "servers", shown.row.id, true);
  w.raw("}");
}

/// As nova tells them: silence is not yet knowledge.
std::map<std::string, std::string> host_statuses(Core& core, db::Tx& tx) {
  std::map<std::string, std::string> all;
  for (const auto& row : tx.query("SELECT id, enabled, forced_down, last_seen FROM hosts"))
    all[row.text(0)] = row.boolean(2)                                  ? "DOWN"
                       : !row.boolean(1)                               ? "MAINTENANCE"
                       : core.is_up(HostId(row.text(0)), row.text(3)) ? "UP"
                                                                       : "UNKNOWN";
  return all;
}

}  // namespace

bool sees_extended(const api::Call& call) { return call.allows("os_compute_api:os-extended-server-attributes", own_target(call)); }

std::vector<Shown> load_shown(Core& core, db::Tx& tx, const api::Call& call, std::vector<ServerRow> rows,
                              View view) {
  std::vector<ServerId> ids;
  for (const auto& row : rows) ids.push_back(row.server_id());
  std::vector<Shown> all(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) all[i].row = std::move(rows[i]);
  if (view == View::brief || all.empty()) return all;
  auto ports = core.networks.server_ports(tx, ids, network::PortDetail::shown);
  auto metadata = server_metadata(tx, ids);
  auto tags = call.since(2, 26) ? server_tags(tx, ids) : decltype(server_tags(tx, ids))();
  const auto statuses =
      call.since(2, 16) && sees_host_status(call) ? host_statuses(core, tx) : std::map<std::string, std::string>();
  for (size_t i = 0; i < all.size(); ++i) {
    all[i].ports = std::move(ports[i]);
    if (auto it = metadata.find(ids[i].str()); it != metadata.end()) all[i].metadata = std::move(it->second);
    if (auto it = tags.find(ids[i].str()); it != tags.end()) all[i].tags = std::move(it->second);
    if (auto it = statuses.find(all[i].row.host_id); it != statuses.end()) all[i].host_status = it->second;
  }
  return all;
}

std::string server_text(const api::Call& call, const Shown& shown, View view) {
  std::string out;
  Writer::Common common;
  const Writer w{out, call, call.base_url, view, common};
  if (view == View::brief)
    write_brief(w, shown);
  else
    write_server(w, shown, attributes_for(call, view));
  return out;
}

struct ServersText::Body {
  Body(const api::Call& call, View view)
      : writer{out, call, call.base_url, view, common},
        attributes(view == View::brief ? std::vector<const AttributeRow*>() : attributes_for(call, view)) {}
  std::string out = "{\"servers\":[";
  Writer::Common common;
  const Writer writer;
  const std::vector<const AttributeRow*> attributes;
  bool first = true;
};

ServersText::ServersText(const api::Call& call, View view, size_t expected)
    : body_(std::make_unique<Body>(call, view)) {
  body_->out.reserve(64 + expected * (view == View::brief ? 400 : 2200));
}

ServersText::~ServersText() = default;

void ServersText::add(const std::vector<Shown>& servers) {
  for (const auto& server : servers) {
    if (!body_->first) body_->out += ',';
    body_->first = false;
    if (body_->writer.view == View::brief)
      write_brief(body_->writer, server);
    else
      write_server(body_->writer, server, body_->attributes);
  }
}

std::string ServersText::finish(const std::string& next) {
  std::string& out = body_->out;
  out += ']';
  if (!next.empty()) {
    out += ",\"servers_links\":[{\"rel\":\"next\",\"href\":";
    append_json_string(out, next);
    out += "}]";
  }
  out += '}';
  return std::move(out);
}

json::object addresses_view(const std::vector<network::PortInfo>& ports) {
  json::object all;
  for (const auto& port : ports) {
    auto& list = all[port.network_name];
    if (!list.is_array()) list = json::array();
    for (const auto& ip : port.fixed_ips) {
      list.as_array().push_back(json::object{{"version", ip.version}, {"addr", ip.address}});
      for (const auto& floating : port.floating_ips)
        if (floating.fixed == ip.address)
          list.as_array().push_back(json::object{{"version", 4}, {"addr", floating.address}});
    }
  }
  return all;
}

}  // namespace virga::compute
