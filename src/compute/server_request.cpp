#include "compute/server_request.h"

#include "base/crypto.h"
#include "compute/routes.h"
#include "compute/servers.h"

namespace virga::compute {
namespace {

using api::Set;
using api::Type;

api::Resource make_resource() {
  const auto given = [](std::string_view name, Type type, int64_t min = 0, int64_t max = 0) {
    return api::Attribute{.name = name, .type = type, .create = Set::optional, .min = min, .max = max};
  };
  api::Resource r{"server", "servers", {}};
  auto& a = r.attributes;
  a.push_back({.name = "name", .create = Set::required, .min = 1, .max = 255});
  a.push_back({.name = "flavorRef", .type = Type::any, .create = Set::required});
  a.push_back(given("imageRef", Type::string));
  a.push_back(given("adminPass", Type::string));
  a.push_back(given("metadata", Type::object));
  a.push_back(given("networks", Type::any));
  a.push_back({.name = "OS-DCF:diskConfig", .create = Set::optional, .one_of = {"AUTO", "MANUAL"}});
  a.push_back(given("accessIPv4", Type::string));
  a.push_back(given("accessIPv6", Type::string));
  a.push_back(given("personality", Type::array));
  a.push_back(given("availability_zone", Type::string, 1, 255));
  a.push_back(given("block_device_mapping", Type::array));
  a.push_back(given("block_device_mapping_v2", Type::array));
  a.push_back(given("config_drive", Type::any));
  a.push_back(given("key_name", Type::string, 1, 255));
  a.push_back(given("min_count", Type::integer, 1, 2147483647));
  a.push_back(given("max_count", Type::integer, 1, 2147483647));
  a.push_back(given("return_reservation_id", Type::any));
  a.push_back(given("security_groups", Type::array));
  a.push_back(given("user_data", Type::string, 0, 65535));
  a.push_back(
      {.name = "description", .create = Set::optional, .nullable = true, .max = 255, .since = {2, 19}});
  a.push_back({.name = "tags", .type = Type::array, .create = Set::optional, .max = 50, .since = {2, 52}});
  a.push_back(
      {.name = "trusted_image_certificates", .type = Type::any, .create = Set::optional, .since = {2, 63}});
  a.push_back({.name = "host", .create = Set::optional, .min = 1, .max = 255, .since = {2, 74}});
  a.push_back(
      {.name = "hypervisor_hostname", .create = Set::optional, .min = 1, .max = 255, .since = {2, 74}});
  a.push_back({.name = "hostname", .create = Set::optional, .min = 1, .max = 63, .since = {2, 90}});
  return r;
}

Fault invalid(std::string_view field, const json::value& value, std::string_view why) {
  const std::string shown = value.is_string() ? str(value) : json::serialize(value);
  return Fault(FaultKind::bad_request,
               fmt::format("Invalid input for field/attribute {}. Value: {}. {}", field, shown, why));
}

Fault missing(std::string what, std::string hint) {
  return Fault(FaultKind::not_implemented, std::move(what), std::move(hint));
}

bool loose_bool(std::string_view field, const json::value& value) {
  if (value.is_bool()) return value.get_bool();
  if (value.is_string())
    if (const auto parsed = api::parse_bool(std::string_view(value.get_string()))) return *parsed;
  if (value.is_int64() && (value.get_int64() == 0 || value.get_int64() == 1)) return value.get_int64() == 1;
  throw invalid(field, value, "It is not one of true, false, 0, 1.");
}

network::NicRequest parse_nic(const api::Call& call, const json::value& value) {
  const auto* nic = value.if_object();
  if (!nic) throw invalid("networks", value, "It is not of type 'object'.");
  network::NicRequest request;
  for (const auto& [key, v] : *nic) {
    if (v.is_null() && key == "port") continue;
    if (key == "tag" && (call.since(2, 42) || call.version == api::Version{2, 32}))
      continue;  // kept out of the guest so far
    if (!v.is_string())
      throw invalid("networks", value, fmt::format("'{}' is not text.", std::string_view(key)));
    if (key == "uuid")
      request.network_id = str(v);
    else if (key == "port")
      request.port_id = str(v);
    else if (key == "fixed_ip")
      request.fixed_ip = str(v);
    else
      throw invalid(
          "networks", value,
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  }
  if (!request.fixed_ip.empty() && !api::is_ip(request.fixed_ip))
    throw invalid("fixed_ip", json::value(request.fixed_ip), "It is not an IP address.");
  if (!request.port_id.empty() && !looks_like_uuid(request.port_id))
    throw Fault(FaultKind::bad_request,
                fmt::format("Bad port format: port uuid is not in proper format ({})", request.port_id));
  if (request.port_id.empty() && !looks_like_uuid(request.network_id))
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Bad networks format: network uuid is not in proper format ({})", request.network_id));
  if (!request.port_id.empty()) request.network_id.clear();
  return request;
}

void parse_networks(const api::Call& call, const json::object& server, NewServer& out) {
  const auto* networks = server.if_contains("networks");
  if (!networks) {
    if (call.since(2, 37))
      throw Fault(FaultKind::bad_request,
                  "Invalid input for field/attribute server. 'networks' is a required property");
    return;
  }
  if (networks->is_string() && call.since(2, 37)) {
    if (networks->get_string() == "auto")
      out.nics = NewServer::Nics::automatic;
    else if (networks->get_string() == "none")
      out.nics = NewServer::Nics::none;
    else
      throw invalid("networks", *networks, "It is not one of ['none', 'auto'].");
    return;
  }
  if (!networks->is_array()) throw invalid("networks", *networks, "It is not of type 'array'.");
  for (const auto& nic : networks->get_array()) out.nic_requests.push_back(parse_nic(call, nic));
  if (!out.nic_requests.empty()) out.nics = NewServer::Nics::listed;
}

void refuse_volumes(std::string_view what) {
  throw missing(fmt::format("Booting with {} needs volumes, which this cloud does not serve yet.", what),
                "Boot from an image: give imageRef, and block_device_mapping_v2 at most as image to local.");
}

void parse_block_devices(const json::object& server, NewServer& out) {
  if (const auto* old = find_array(server, "block_device_mapping"); old && !old->empty())
    refuse_volumes("block_device_mapping");
  const auto* list = find_array(server, "block_device_mapping_v2");
  if (!list) return;
  for (const auto& value : *list) {
    const auto* device = value.if_object();
    if (!device) throw invalid("block_device_mapping_v2", value, "It is not of type 'object'.");
    const std::string source = find_string(*device, "source_type"),
                      destination = find_string(*device, "destination_type");
    for (const char* key : {"uuid", "volume_id", "snapshot_id", "image_id"})
      if (const auto* id = device->if_contains(key); id && !id->is_string() && !id->is_null())
        throw invalid(key, *id, "It is not of type 'string'.");
    if (source != "image" && source != "volume" && source != "snapshot" && source != "blank")
      throw invalid("source_type", json::value(source),
                    "It is not one of ['volume', 'image', 'snapshot', 'blank'].");
    if (source != "image" || (destination != "local" && !destination.empty()))
      refuse_volumes(source + " to " + (destination.empty() ? "volume" : destination));
    const std::string image = find_string(*device, "uuid", find_string(*device, "image_id"));
    if (!out.image_id.empty() && !image.empty() && image != out.image_id)
      throw Fault(FaultKind::bad_request,
                  "Block Device Mapping is Invalid: Boot sequence for the instance and image/block device "
                  "mapping combination is not valid.");
    if (out.image_id.empty()) out.image_id = image;
  }
}

void parse_zone(api::Call& call, const json::object& server, NewServer& out) {
  std::string zone = find_string(server, "availability_zone");
  if (const size_t colon = zone.find(':'); colon != std::string::npos) {
    const std::string rest = zone.substr(colon + 1);
    zone.resize(colon);
    const size_t second = rest.find(':');
    if (second != std::string::npos && rest.find(':', second + 1) != std::string::npos)
      throw Fault(FaultKind::bad_request, "Unable to parse availability_zone: too many colons.");
    out.host = rest.substr(0, second);
    if (out.host.empty() && second != std::string::npos) out.host = rest.substr(second + 1);
    call.require("os_compute_api:servers:create:forced_host", own_target(call));
  }
  out.zone = zone;
  for (const char* key : {"host", "hypervisor_hostname"})
    if (server.contains(key)) {
      call.require("compute:servers:create:requested_destination", own_target(call));
      out.host = find_string(server, key);
    }
}

std::vector<std::string> one_or_more(std::string_view field, const json::value& value) {
  std::vector<std::string> ids;
  const auto add = [&](const json::value& v) {
    if (!v.is_string() || !looks_like_uuid(std::string_view(v.get_string())))
      throw invalid(field, v, "It is not a 'uuid'.");
    ids.push_back(str(v));
  };
  if (value.is_array())
    for (const auto& one : value.get_array()) add(one);
  else
    add(value);
  return ids;
}

void parse_hints(const json::object& body, NewServer& out) {
  for (const char* key : {"os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"}) {
    const auto* hints = find_object(body, key);
    if (!hints) continue;
    for (const auto& [name, value] : *hints) {
      if (name == "group") {
        const auto ids = one_or_more("group", value);
        if (!ids.empty()) out.group = ids.front();
      } else if (name == "same_host")
        out.same_host = one_or_more(name, value);
      else if (name == "different_host")
        out.different_host = one_or_more(name, value);
      else if (name == "query" || name == "build_near_host_ip" || name == "target_cell" ||
               name == "different_cell" || name == "cidr")
        throw missing(fmt::format("The scheduler hint '{}' is not implemented.", std::string_view(name)),
                      "Leave it out, or use group, same_host or different_host.");
      // Hints of no built-in filter are accepted and mean nothing, as in nova.
    }
  }
}

void parse_guest(const api::Call& call, const json::object& server, NewServer& out) {
  if (server.contains("personality") && call.since(2, 57))
    throw Fault(FaultKind::bad_request,
                "Additional properties are not allowed ('personality' was unexpected)");
  const auto* files = find_array(server, "personality");
  for (const auto& file : files ? *files : json::array()) {
    std::string bytes;
    if (!file.is_object() || !base64_decode(find_string(file.get_object(), "contents"), bytes))
      throw invalid("personality", file, "It needs a path, and contents in base64.");
  }
  if (files && !files->empty())
    throw missing("Injecting files (personality) is not implemented.",
                  "Use user_data: cloud-init writes files from it.");
  if (has_value(server, "trusted_image_certificates"))
    throw missing("Image certificate validation (trusted_image_certificates) is not implemented.",
                  "Leave it out.");
  if (server.contains("user_data")) {
    out.user_data = find_string(server, "user_data");
    std::string bytes;
    if (!base64_decode(*out.user_data, bytes))
      throw invalid("user_data", json::value(*out.user_data), "It is not a 'base64'.");
  }
  if (const auto* drive = server.if_contains("config_drive"))
    out.config_drive = loose_bool("config_drive", *drive);
  if (const auto* metadata = find_object(server, "metadata")) out.metadata = parse_metadata(*metadata);
  if (server.contains("key_name")) out.key_name = find_string(server, "key_name");
  out.admin_pass = find_string(server, "adminPass");
  if (out.admin_pass.empty()) out.admin_pass = base64url_encode(random_bytes(9), false);
}

void parse_counts(const json::object& server, NewServer& out) {
  out.min_count = find_int(server, "min_count", 1);
  out.max_count = find_int(server, "max_count", out.min_count);
  if (out.min_count > out.max_count) throw Fault(FaultKind::bad_request, "min_count must be <= max_count");
  if (const auto* reserve = server.if_contains("return_reservation_id"))
    out.return_reservation_id = loose_bool("return_reservation_id", *reserve);
}

void parse_access(const json::object& server, NewServer& out) {
  struct Family {
    const char* key;
    std::string NewServer::*member;
    int version;
  };
  for (const auto& f : {Family{"accessIPv4", &NewServer::access_ip_v4, 4},
                        Family{"accessIPv6", &NewServer::access_ip_v6, 6}}) {
    out.*f.member = parse_access_ip(server, f.key, f.version);
  }
  out.disk_config = find_string(server, "OS-DCF:diskConfig", "MANUAL");
}

}  // namespace

NewServer parse_new_server(api::Call& call) {
  static const api::Resource kResource = make_resource();
  for (const auto& [key, value] : call.body())
    if (key != "server" && key != "os:scheduler_hints" && key != "OS-SCH-HNT:scheduler_hints")
      throw Fault(
          FaultKind::bad_request,
          fmt::format("Additional properties are not allowed ('{}' was unexpected)", std::string_view(key)));
  const json::object server = api::validate_create(kResource, call.body_of("server"), call.version);
  NewServer out;
  out.name = parse_name(server, "name");
  const auto& flavor = server.at("flavorRef");
  if (flavor.is_int64())
    out.flavor_id = std::to_string(flavor.get_int64());
  else if (flavor.is_string() && !flavor.get_string().empty())
    out.flavor_id = str(flavor);
  else
    throw invalid("flavorRef", flavor, "It is not of type 'string', 'integer'.");
  // Old clients send URLs.
  if (const size_t slash = out.flavor_id.rfind('/'); slash != std::string::npos)
    out.flavor_id.erase(0, slash + 1);
  out.image_id = find_string(server, "imageRef");
  if (!out.image_id.empty() && !looks_like_uuid(out.image_id))
    throw invalid("imageRef", json::value(out.image_id), "It is not a 'uuid'.");
  if (has_value(server, "description")) out.description = find_string(server, "description");
  out.hostname = find_string(server, "hostname");
  if (!out.hostname.empty() && host_name_from(out.hostname, "") != out.hostname)
    throw invalid("hostname", json::value(out.hostname),
                  "It does not match '^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$'.");
  parse_block_devices(server, out);
  parse_networks(call, server, out);
  parse_guest(call, server, out);
  parse_counts(server, out);
  parse_access(server, out);
  parse_zone(call, server, out);
  parse_hints(call.body(), out);
  if (!out.hostname.empty() && out.max_count > 1)
    throw Fault(FaultKind::bad_request, "Unable to allocate multiple instances with the same hostname");
  if (const auto* tags = find_array(server, "tags"))
    for (const auto& tag : *tags) {
      check_tag(tag);
      if (std::find(out.tags.begin(), out.tags.end(), str(tag)) == out.tags.end())
        out.tags.push_back(str(tag));
    }
  if (const auto* groups = find_array(server, "security_groups"))
    for (const auto& group : *groups) {
      const std::string name = group.is_object() ? find_string(group.get_object(), "name") : "";
      if (name.empty()) throw invalid("security_groups", group, "'name' must be text that is not empty.");
      if (std::find(out.security_groups.begin(), out.security_groups.end(), name) ==
          out.security_groups.end())
        out.security_groups.push_back(name);
    }
  return out;
}

}  // namespace virga::compute
