#include <fmt/format.h>

#include <charconv>

#include "base/ids.h"
#include "network/service.h"

namespace virga::network {
namespace {

// ---- rules ---------------------------------------------------------------------------------------------------------

const std::vector<std::string_view> kProtocols = {"ah", "dccp", "egp", "esp", "gre", "hopopt", "icmp", "igmp", "ip", "ipip", "ipv6-encap", "ipv6-frag", "ipv6-icmp", "icmpv6",
                                                  "ipv6-nonxt", "ipv6-opts", "ipv6-route", "ospf", "pgm", "rsvp", "sctp", "tcp", "udp", "udplite", "vrrp", "any"};

bool has_ports(std::string_view protocol) {
  for (auto p : {"tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136"})
    if (protocol == p) return true;
  return false;
}

bool is_icmp(std::string_view protocol) { return protocol == "icmp" || protocol == "1" || protocol == "icmpv6" || protocol == "ipv6-icmp" || protocol == "58"; }

void check_protocol(Object& rule) {
  std::string protocol = text_of(rule, "protocol");
  std::transform(protocol.begin(), protocol.end(), protocol.begin(), ::tolower);
  if (protocol.empty()) return;
  int number = -1;
  const auto [end, error] = std::from_chars(protocol.data(), protocol.data() + protocol.size(), number);
  const bool numeric = error == std::errc() && end == protocol.data() + protocol.size();
  if (numeric ? number < 0 || number > 255 : std::find(kProtocols.begin(), kProtocols.end(), protocol) == kProtocols.end())
    throw bad_request(fmt::format("Security group rule protocol {} not supported. Only protocol values [tcp, udp, icmp, …] and integer representations [0 to 255] are supported.", protocol), "SecurityGroupRuleInvalidProtocol");
  rule["protocol"] = protocol == "any" || protocol == "ip" || (numeric && number == 0) ? json::value(nullptr) : json::value(protocol);
}

void check_ports(const Object& rule) {
  const std::string protocol = text_of(rule, "protocol");
  const bool low = has_value(rule, "port_range_min"), high = has_value(rule, "port_range_max");
  if (!low && !high) return;
  for (const char* key : {"port_range_min", "port_range_max"})
    if (const int64_t port = find_int(rule, key); port < 0 || port > 65535) throw bad_request(fmt::format("Invalid value for port {}", port), "SecurityGroupInvalidPortValue");
  const int64_t min = find_int(rule, "port_range_min", -1), max = find_int(rule, "port_range_max", -1);
  if (is_icmp(protocol)) {
    if (!low) throw bad_request(fmt::format("ICMP code (port-range-max) {} is provided but ICMP type (port-range-min) is missing.", max), "SecurityGroupMissingIcmpType");
    if (min > 255) throw bad_request(fmt::format("Invalid value for ICMP type (port_range_min) {}. It must be 0 to 255.", min), "SecurityGroupInvalidIcmpValue");
    if (high && max > 255) throw bad_request(fmt::format("Invalid value for ICMP code (port_range_max) {}. It must be 0 to 255.", max), "SecurityGroupInvalidIcmpValue");
    return;
  }
  if (protocol.empty()) throw bad_request("Must also specify protocol if port range is given.", "SecurityGroupProtocolRequiredWithPorts");
  if (!has_ports(protocol)) throw bad_request(fmt::format("Invalid protocol {} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP.", protocol), "SecurityGroupInvalidProtocolForPort");
  if (!low || !high || min > max || (min == 0 && protocol != "icmp" && max == 0))
    throw bad_request("Invalid port range: port_range_min must be at most port_range_max, and both are needed.", "SecurityGroupInvalidPortRange");
}

void check_remote(db::Tx& tx, Object& rule) {
  const std::string prefix = text_of(rule, "remote_ip_prefix"), group = text_of(rule, "remote_group_id");
  if (!prefix.empty() && !group.empty()) throw bad_request("Only remote_ip_prefix or remote_group_id may be provided.", "SecurityGroupRemoteGroupAndRemoteIpPrefix");
  if (!prefix.empty()) {
    const auto cidr = parse_cidr(prefix);
    if (!cidr) throw bad_request(fmt::format("Invalid input for remote_ip_prefix. Reason: '{}' is not a valid IP address or range.", prefix));
    if ((cidr->network.family == 4) != (text_of(rule, "ethertype") == "IPv4"))
      throw bad_request(fmt::format("Conflicting value ethertype {} for CIDR {}", text_of(rule, "ethertype"), prefix), "SecurityGroupRuleParameterConflict");
    // Kept with its host bits, as neutron does; what the data plane matches is normalized_cidr.
    rule["remote_ip_prefix"] = fmt::format("{}/{}", parse_ip(prefix.substr(0, prefix.find('/')))->str(), cidr->prefix);
  }
  if (!group.empty() && !tx.first("SELECT 1 FROM network_security_groups WHERE id = ?", group))
    throw Fault(FaultKind::not_found, fmt::format("Security group {} does not exist", group), "", "SecurityGroupNotFound");
}

json::value normalized_cidr(const Object& rule) {
  const auto cidr = parse_cidr(text_of(rule, "remote_ip_prefix"));
  return cidr ? json::value(cidr->str()) : json::value(nullptr);
}

/// What makes two rules the same: neutron refuses the second.
std::string fingerprint(const Object& rule) {
  std::string out;
  for (const char* key : {"direction", "ethertype", "protocol", "port_range_min", "port_range_max", "normalized_cidr", "remote_group_id"}) {
    const json::value cidr = normalized_cidr(rule);
    const json::value* v = std::string_view(key) == "normalized_cidr" ? &cidr : rule.if_contains(key);
    out += v && !v->is_null() ? (v->is_string() ? str(*v) : json::serialize(*v)) : "-";
    out += '|';
  }
  return out;
}

void insert_rule(NetworkService& s, db::Tx& tx, Object rule) {
  rule["fingerprint"] = fingerprint(rule);
  try {
    api::insert_record(tx, s.rules().resource, s.rules().table, rule);
  } catch (const db::UniqueViolation&) {
    const auto other = tx.first("SELECT id FROM network_security_group_rules WHERE security_group_id = ? AND fingerprint = ?", text_of(rule, "security_group_id"), text_of(rule, "fingerprint"));
    throw conflict(fmt::format("Security group rule already exists. Rule id is {}.", other ? other->text(0) : "?"), "SecurityGroupRuleExists");
  }
  tx.exec("UPDATE network_security_groups SET revision_number = revision_number + 1 WHERE id = ?", text_of(rule, "security_group_id"));
  s.touch(tx, Dirty::Kind::security_group, text_of(rule, "security_group_id"));
}

Object create_rule(NetworkService& s, db::Tx& tx, api::Call& call, Object rule) {
  const Object group = find_visible(tx, s.groups(), call.caller(), text_of(rule, "security_group_id"));
  std::string ethertype = text_of(rule, "ethertype");
  std::transform(ethertype.begin(), ethertype.end(), ethertype.begin(), ::tolower);
  if (ethertype.empty() || ethertype == "ipv4") rule["ethertype"] = "IPv4";
  else if (ethertype == "ipv6") rule["ethertype"] = "IPv6";
  else throw bad_request(fmt::format("Security group rule for ethertype '{}' not supported. Allowed values are ['IPv4', 'IPv6'].", ethertype), "SecurityGroupRuleInvalidEtherType");
  if (text_of(rule, "remote_ip_prefix").empty()) rule["remote_ip_prefix"] = nullptr;
  if (text_of(rule, "remote_group_id").empty()) rule["remote_group_id"] = nullptr;
  for (const char* key : {"protocol", "port_range_min", "port_range_max"})
    if (!rule.contains(key)) rule[key] = nullptr;
  check_protocol(rule);
  check_ports(rule);
  check_remote(tx, rule);
  insert_rule(s, tx, rule);
  return rule;
}

// ---- groups --------------------------------------------------------------------------------------------------------

void add_default_rules(NetworkService& s, db::Tx& tx, const Object& group, bool from_itself) {
  const auto add = [&](const char* direction, const char* ethertype, bool remote) {
    Object rule{{"id", new_uuid()},
                {"project_id", text_of(group, "project_id")},
                {"security_group_id", text_of(group, "id")},
                {"direction", direction},
                {"ethertype", ethertype},
                {"protocol", nullptr},
                {"port_range_min", nullptr},
                {"port_range_max", nullptr},
                {"remote_ip_prefix", nullptr},
                {"remote_group_id", remote ? json::value(text_of(group, "id")) : json::value(nullptr)},
                {"description", ""},
                {"revision_number", 1},
                {"created_at", s.now()},
                {"updated_at", s.now()}};
    insert_rule(s, tx, std::move(rule));
    s.count_quota(tx, text_of(group, "project_id"), "security_group_rule", 1);
  };
  for (const char* ethertype : {"IPv4", "IPv6"}) {
    add("egress", ethertype, false);
    if (from_itself) add("ingress", ethertype, true);
  }
}

Object create_group(NetworkService& s, db::Tx& tx, Object group) {
  s.ensure_default_group(tx, text_of(group, "project_id"));
  if (text_of(group, "name") == "default") throw conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists");
  group["default_of"] = nullptr;
  api::insert_record(tx, s.groups().resource, s.groups().table, group);
  add_default_rules(s, tx, group, false);
  return group;
}

void remove_group(NetworkService& s, db::Tx& tx, const api::Caller& caller, const Object& current) {
  const std::string id = text_of(current, "id");
  if (has_value(current, "default_of") && !caller.is_admin()) throw conflict("Insufficient rights for removing default security group.", "SecurityGroupCannotRemoveDefault");
  if (tx.first("SELECT 1 FROM network_port_groups WHERE security_group_id = ?", id)) throw conflict(fmt::format("Security Group {} in use.", id), "SecurityGroupInUse");
  for (const auto& r : tx.query("SELECT security_group_id FROM network_security_group_rules WHERE remote_group_id = ? AND security_group_id <> ?", id, id)) s.touch(tx, Dirty::Kind::security_group, r.text(0));
  for (const auto& r : tx.query("SELECT project_id, COUNT(*) FROM network_security_group_rules WHERE security_group_id = ? OR remote_group_id = ? GROUP BY project_id", id, id))
    s.count_quota(tx, r.text(0), "security_group_rule", -r.integer(1));
  tx.exec("DELETE FROM network_security_group_rules WHERE security_group_id = ? OR remote_group_id = ?", id, id);
  tx.exec("DELETE FROM network_security_groups WHERE id = ?", id);
  s.touch(tx, Dirty::Kind::security_group, id);
}

void decorate_groups(NetworkService& s, db::Tx& tx, Objects& rows) {
  std::map<std::string, Object*> by_id;
  std::vector<db::Value> ids;
  for (auto& row : rows) {
    row["security_group_rules"].emplace_array();
    row["shared"] = false;
    by_id[text_of(row, "id")] = &row;
    ids.emplace_back(text_of(row, "id"));
  }
  if (ids.empty()) return;
  const auto& rule_resource = s.rules().resource;
  for (const auto& r : tx.query(fmt::format("SELECT {} FROM network_security_group_rules WHERE security_group_id IN ({}) ORDER BY created_at, id", api::record_columns(rule_resource), db::placeholders(ids.size())), ids)) {
    Object rule = api::read_record(rule_resource, r);
    rule.erase("fingerprint");
    rule["tenant_id"] = rule["project_id"];
    rule["remote_address_group_id"] = nullptr;
    rule["normalized_cidr"] = normalized_cidr(rule);
    by_id.at(text_of(rule, "security_group_id"))->at("security_group_rules").as_array().push_back(std::move(rule));
  }
}

}  // namespace

std::string NetworkService::ensure_default_group(db::Tx& tx, const std::string& project_id) {
  if (project_id.empty()) return "";
  if (const auto there = tx.first("SELECT id FROM network_security_groups WHERE default_of = ?", project_id)) return there->text(0);
  Object group{{"id", new_uuid()}, {"project_id", project_id}, {"name", "default"}, {"description", "Default security group"}, {"stateful", true},
               {"default_of", project_id}, {"revision_number", 1}, {"created_at", now()}, {"updated_at", now()}};
  api::insert_record(tx, groups_->resource, groups_->table, group);
  count_quota(tx, project_id, "security_group", 1);
  add_default_rules(*this, tx, group, true);
  return text_of(group, "id");
}

void NetworkService::define_security_groups() {
  groups_ = std::make_unique<Collection>(Collection{.resource = security_group_resource(),
                                                    .table = "network_security_groups",
                                                    .path = "/v2.0/security-groups",
                                                    .quota = "security_group",
                                                    .not_found = "SecurityGroupNotFound",
                                                    .title = "Security group",
                                                    .hidden = {"default_of"}});
  groups_->create = [this](db::Tx& tx, api::Call&, Object group) { return create_group(*this, tx, std::move(group)); };
  groups_->update = [this](db::Tx& tx, api::Call&, const Object& current, Object changes) {
    if (has_value(current, "default_of") && changes.contains("name")) throw conflict("Updating default security group not allowed.", "SecurityGroupCannotUpdateDefault");
    if (text_of(changes, "name") == "default") throw conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists");
    api::update_record(tx, groups_->resource, groups_->table, text_of(current, "id"), changes, clock_.now());
    touch(tx, Dirty::Kind::security_group, text_of(current, "id"));
  };
  groups_->remove = [this](db::Tx& tx, api::Call& call, const Object& current) { remove_group(*this, tx, call.caller(), current); };
  groups_->decorate = [this](db::Tx& tx, Objects& rows) { decorate_groups(*this, tx, rows); };
  groups_->before_list = [this](const api::Caller& caller) {
    const auto known = database_.read([&](db::Tx& tx) { return tx.first("SELECT 1 FROM network_security_groups WHERE default_of = ?", caller.project_id).has_value(); });
    if (!known) database_.write([&](db::Tx& tx) { ensure_default_group(tx, caller.project_id); });
  };
  add_collection(service_, environment_, *groups_);
}

void NetworkService::define_security_group_rules() {
  rules_ = std::make_unique<Collection>(Collection{.resource = security_group_rule_resource(),
                                                   .table = "network_security_group_rules",
                                                   .path = "/v2.0/security-group-rules",
                                                   .quota = "security_group_rule",
                                                   .not_found = "SecurityGroupRuleNotFound",
                                                   .title = "Security group rule",
                                                   .hidden = {"fingerprint"}});
  rules_->create = [this](db::Tx& tx, api::Call& call, Object rule) { return create_rule(*this, tx, call, std::move(rule)); };
  rules_->remove = [this](db::Tx& tx, api::Call&, const Object& current) {
    tx.exec("DELETE FROM network_security_group_rules WHERE id = ?", text_of(current, "id"));
    touch(tx, Dirty::Kind::security_group, text_of(current, "security_group_id"));
  };
  rules_->decorate = [](db::Tx&, Objects& rows) {
    for (auto& row : rows) {
      row["remote_address_group_id"] = nullptr;
      row["normalized_cidr"] = normalized_cidr(row);
    }
  };
  add_collection(service_, environment_, *rules_);
}

}  // namespace virga::network
