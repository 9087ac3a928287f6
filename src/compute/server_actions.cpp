// One server: update, delete, and its actions. An action changes what is desired (or begins an operation) in
// one transaction; the agent does the rest.

#include <arpa/inet.h>

#include "base/kill_point.h"
#include "compute/consoles.h"
#include "compute/evacuate.h"
#include "compute/live_moves.h"
#include "compute/moves.h"
#include "compute/placing.h"
#include "compute/remains.h"
#include "compute/server_view.h"
#include "compute/servers.h"
#include "compute/settle.h"

namespace virga::compute {

Fault server_not_found(const std::string& id) {
  return Fault(FaultKind::not_found, fmt::format("Instance {} could not be found.", id));
}

api::Target target_of(const ServerRow& row) { return {{"project_id", row.project_id}, {"user_id", row.user_id}}; }

ServerRow need_server(db::Tx& tx, const api::Call& call, const std::string& id) {
  auto row = find_server(tx, ServerId(id));
  if (!row || row->deleted || (row->project_id != call.caller().project_id && !call.caller().is_admin()))
    throw server_not_found(id);
  call.require_still(target_of(*row));
  return *row;
}

Fault not_ready(const ServerRow& row) {
  return Fault(FaultKind::conflict, fmt::format("Instance {} is not ready.", row.id),
               row.host_id.empty() ? "It is on no host; if it is in ERROR, its fault says why."
               : row.power_state == 1 ? "Its host is about to start it."
                                      : "Start it first.");
}

ServerRow need_locked_server(db::Tx& tx, const api::Call& call, const std::string& id) {
  auto row = lock_server(tx, ServerId(id));
  if (!row || row->deleted || (row->project_id != call.caller().project_id && !call.caller().is_admin()))
    throw server_not_found(id);
  call.require_still(target_of(*row));
  return *row;
}

void refuse_if_locked(const api::Call& call, const ServerRow& row) {
  if (row.locked() && !call.caller().is_admin())
    throw Fault(FaultKind::conflict, fmt::format("Instance {} is locked", row.id));
}

operations::Origin origin_of(const api::Call& call) {
  return {call.caller().project_id, call.caller().user_id, call.request_id};
}

std::string parse_name(const json::object& body, std::string_view key) {
  const std::string name = find_string(body, key);
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  if (name.empty() || name.size() > 255 || blank(name.front()) || blank(name.back()))
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute {}. Value: {}. It must have 1 to 255 "
                            "characters and no leading or trailing blanks.",
                            key, name));
  return name;
}

std::string parse_access_ip(const json::object& body, std::string_view key, int family) {
  const std::string text = find_string(body, key);
  if (text.empty()) return {};
  unsigned char bytes[sizeof(in6_addr)];
  const int domain = family == 4 ? AF_INET : AF_INET6;
  if (inet_pton(domain, text.c_str(), bytes) != 1)
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute {}. Value: {}. It is not a 'ipv{}'.", key, text, family));
  char canonical[INET6_ADDRSTRLEN];
  return inet_ntop(domain, bytes, canonical, sizeof canonical);
}

std::string host_name_from(const std::string& name, const std::string& id) {
  std::string host;
  for (const char c : name.substr(0, 63)) {
    if (isalnum(static_cast<unsigned char>(c)) || c == '-')
      host += static_cast<char>(tolower(c));
    else if (c == ' ' || c == '_' || c == '.')
      host += '-';
  }
  while (!host.empty() && host.front() == '-') host.erase(0, 1);
  while (!host.empty() && host.back() == '-') host.pop_back();
  return host.empty() && !id.empty() ? "server-" + id : host;
}

namespace {

Fault wrong_state(std::string_view action, const ServerRow& row, bool task) {
  return Fault(FaultKind::conflict, fmt::format("Cannot '{}' instance {} while it is in {} {}", action,
                                                row.id, task ? "task_state" : "vm_state",
                                                task ? row.task_state.value_or("") : row.vm_state));
}

}  // namespace

void need_state(std::string_view action, const ServerRow& row,
                std::initializer_list<std::string_view> vm_states,
                std::initializer_list<std::string_view> task_states) {
  if (std::find(vm_states.begin(), vm_states.end(), row.vm_state) == vm_states.end())
    throw wrong_state(action, row, false);
  const std::string task = row.task_state.value_or("");
  if (task_states.size() && std::find(task_states.begin(), task_states.end(), task) == task_states.end())
    throw wrong_state(action, row, true);
}

http::Response change_server(Core& core, api::Call& call, const std::function<void(db::Tx& tx, ServerRow& row)>& decide) {
  place_or_say_why(core, [&](db::Tx& tx) {
    ServerRow row = need_locked_server(tx, call, call.param("id"));
    refuse_if_locked(call, row);
    decide(tx, row);
    row.updated_at = to_db(core.clock.now());
    settle(core, tx, row);
  });
  kill_point("serve.after_commit");
  core.wake(ServerId(call.param("id")));
  return api::reply(202);
}

namespace {

void want(ServerRow& row, std::string_view state) {
  row.desired_state = state;
  row.state_override.clear();
  ++row.generation;
}

http::Response start(Core& core, api::Call& call, const json::value&) {
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_state("start", row, {"stopped"});
    begin_operation(core, tx, row, "start", origin_of(call));
    want(row, "running");
  });
}

http::Response stop(Core& core, api::Call& call, const json::value&) {
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_state("stop", row, {"active", "error", "rescued"});
    begin_operation(core, tx, row, "stop", origin_of(call));
    want(row, "stopped");
  });
}

/// Throws unless the server's host knows what a paused server is.
void need_pause(db::Tx& tx, const ServerRow& row) {
  const auto host = tx.first("SELECT link_minor FROM hosts WHERE id = ?", row.host_id);
  if (!host || host->integer(0) < link::kPauseMinor)
    throw Fault(FaultKind::conflict, fmt::format("The agent of {} is of an older version that cannot pause servers.", row.node), "Upgrade Virga there.");
}

http::Response pause(Core& core, api::Call& call, const json::value&) {
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_state("pause", row, {"active"});
    need_pause(tx, row);
    begin_operation(core, tx, row, "pause", origin_of(call));
    want(row, "paused");
  });
}

http::Response unpause(Core& core, api::Call& call, const json::value&) {
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    need_state("unpause", row, {"paused"});
    begin_operation(core, tx, row, "unpause", origin_of(call));
    want(row, "running");
  });
}

http::Response reboot(Core& core, api::Call& call, const json::value& arguments) {
  std::string type = arguments.is_object() ? find_string(arguments.get_object(), "type") : "";
  std::transform(type.begin(), type.end(), type.begin(), ::toupper);
  if (type != "SOFT" && type != "HARD")
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute type. Value: {}. It is not one of ['HARD', "
                            "'Hard', 'hard', 'SOFT', 'Soft', 'soft'].",
                            type));
  return change_server(core, call, [&](db::Tx& tx, ServerRow& row) {
    if (type == "SOFT")
      need_state("reboot", row, {"active"}, {"", "rebooting"});
    else
      need_state("reboot", row, {"active", "stopped", "paused", "suspended", "error"},
                 {"", "rebooting", "rebooting_hard"});
    if (type == "SOFT" && row.task_state == "rebooting") throw wrong_state("reboot", row, true);
    const bool was_off = row.desired_state == "stopped" || row.vm_state == "error";
    begin_operation(core, tx, row, was_off ? "start" : "reboot", origin_of(call), type);
    if (was_off || row.desired_state == "paused") want(row, "running");
  });
}

http::Response reset_state(Core& core, api::Call& call, const json::value& arguments) {
  const std::string state = arguments.is_object() ? find_string(arguments.get_object(), "state") : "";
  if (state != "active" && state != "error")
    throw Fault(
        FaultKind::bad_request,
        fmt::format(
            "Invalid input for field/attribute state. Value: {}. It is not one of ['active', 'error'].",
            state));
  return change_server(core, call, [&](db::Tx&, ServerRow& row) {
    if (!row.move.empty())
      throw Fault(FaultKind::conflict, fmt::format("Instance {} is changing its host or size.", row.id),
                  row.vm_state == "resized" ? "Confirm or revert that first." : "That ends by itself; `virga explain server` tells how far it is.");
    row.state_override = state == "error" ? "error" : "";
    if (state == "active") row.failed_permanently = 0;
  });
}

/// Deleting is final here, so there is never a soft-deleted server to bring back.
http::Response restore(Core& core, api::Call& call, const json::value&) {
  return change_server(core, call, [&](db::Tx&, ServerRow& row) { need_state("restore", row, {"soft-delete"}); });
}

http::Response lock(Core& core, api::Call& call, const json::value& arguments) {
  std::optional<std::string> reason;
  if (arguments.is_object() && call.since(2, 73)) {
    for (const auto& [key, value] : arguments.get_object()) {
      if (key != "locked_reason" || !value.is_string() || value.get_string().empty() ||
          value.get_string().size() > 255)
        throw Fault(FaultKind::bad_request,
                    "Invalid input for field/attribute lock. Only 'locked_reason', text of 1 to 255 "
                    "characters, may be given.");
      reason = str(value);
    }
  }
  core.database.write([&](db::Tx& tx) {
    const auto row = need_locked_server(tx, call, call.param("id"));
    update_server(
        tx, row.id,
        {{"locked_by", call.caller().is_admin() && row.project_id != call.caller().project_id ? "admin" : "owner"},
         {"locked_reason", reason}});
  });
  return api::reply(202);
}

http::Response unlock(Core& core, api::Call& call, const json::value&) {
  core.database.write([&](db::Tx& tx) {
    const auto row = need_locked_server(tx, call, call.param("id"));
    if (row.locked_by == "admin") call.require("os_compute_api:os-lock-server:unlock:unlock_override", target_of(row));
    update_server(tx, row.id, {{"locked_by", ""}, {"locked_reason", nullptr}});
  });
  return api::reply(202);
}

http::Response erase(Core& core, api::Call& call, int status) {
  bool gone = false;
  std::optional<HostId> other;  // that keeps it until its resize is confirmed
  core.database.write([&](db::Tx& tx) {
    gone = false;
    other.reset();
    ServerRow row = need_locked_server(tx, call, call.param("id"));
    refuse_if_locked(call, row);
    if (row.desired_state == "absent") return;  // under way already
    begin_operation(core, tx, row, "delete", origin_of(call));
    want(row, "absent");
    other = drop_move(core, tx, row, "The server was deleted.");
    if (row.host_id.empty()) {
      release_server(core, tx, row, false);
      gone = true;
      return;
    }
    const auto host = tx.first("SELECT last_seen FROM hosts WHERE id = ?", row.host_id);
    if (!host || !core.is_up(HostId(row.host_id), host->text(0))) {
      // nova's local delete: everything is given back now, and the host removes the domain when it returns.
      release_server(core, tx, row, true);
      gone = true;
      return;
    }
    settle(core, tx, row);
  });
  kill_point("serve.after_commit");
  if (!gone) core.wake(ServerId(call.param("id")));
  if (other) push_others(core, *other);
  return api::reply(status);
}

http::Response console_output(Core& core, api::Call& call, const json::value& arguments) {
  int64_t length = -1;
  if (arguments.is_object()) {
    if (const auto* given = arguments.get_object().if_contains("length"); given && !given->is_null()) {
      char* end = nullptr;
      const std::string text = given->is_string() ? str(*given) : json::serialize(*given);
      length = std::strtoll(text.c_str(), &end, 10);
      if (*end || text.empty() || length < -1)
        throw Fault(FaultKind::bad_request,
                    fmt::format("Invalid input for field/attribute length. Value: {}.", text));
    }
  }
  const auto row = core.database.read([&](db::Tx& tx) { return need_server(tx, call, call.param("id")); });
  auto* hub = core.hub.load();
  if (row.host_id.empty() || !hub || !row.launched_at)
    throw not_ready(row);
  std::string log = hub->console_log(HostId(row.host_id), row.server_id(), 100 << 10);
  if (length >= 0) {
    // The last `length` lines.
    size_t from = log.size();
    if (from > 0 && log.back() == '\n') --from;
    int64_t lines = 0;
    while (from > 0 && !(log[from - 1] == '\n' && ++lines >= length)) --from;
    log = length == 0 ? "" : log.substr(from);
  }
  std::string body = "{\"output\":";
  std::string clean;
  // Consoles carry any bytes; JSON carries text without control characters.
  for (const char c : log)
    if (c == '\n' || c == '\t' ||
        (static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7f))
      clean += c;
  append_json_string(body, clean);
  return api::reply_text(200, body + "}");
}

http::Response vnc_console(Core& core, api::Call& call, const json::value& arguments) {
  if (call.since(2, 6))
    throw Fault(FaultKind::bad_request,
                "There is no such action: os-getVNCConsole. Use POST /servers/{id}/remote-consoles.");
  const std::string type = arguments.is_object() ? find_string(arguments.get_object(), "type") : "";
  if (type != "novnc")
    throw Fault(
        FaultKind::bad_request,
        fmt::format("Invalid input for field/attribute type. Value: {}. It is not one of ['novnc'].", type));
  const auto row = core.database.read([&](db::Tx& tx) { return need_server(tx, call, call.param("id")); });
  return api::reply(
      200, json::object{{"console",
                         json::object{{"type", "novnc"}, {"url", make_console(core, call, row, "novnc")}}}});
}

http::Response serial_console(Core& core, api::Call& call, const json::value&) {
  if (call.since(2, 6))
    throw Fault(FaultKind::bad_request,
                "There is no such action: os-getSerialConsole. Use POST /servers/{id}/remote-consoles.");
  const auto row = core.database.read([&](db::Tx& tx) { return need_server(tx, call, call.param("id")); });
  return api::reply(
      200, json::object{{"console", json::object{{"type", "serial"},
                                                 {"url", make_console(core, call, row, "serial")}}}});
}

http::Response remote_console(Core& core, api::Call& call) {
  const auto& wanted = call.body_of("remote_console");
  const std::string protocol = find_string(wanted, "protocol"), type = find_string(wanted, "type");
  const bool vnc = protocol == "vnc" && type == "novnc", serial = protocol == "serial" && type == "serial";
  if (!vnc && !serial)
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute remote_console. Protocol '{}' with type '{}' "
                            "is not served; vnc with novnc and serial with serial are.",
                            protocol, type));
  const auto row = core.database.read([&](db::Tx& tx) { return need_server(tx, call, call.param("id")); });
  return api::reply(
      200, json::object{{"remote_console", json::object{{"protocol", protocol},
                                                        {"type", type},
                                                        {"url", make_console(core, call, row, type)}}}});
}

/// The one text argument of an action.
std::string text_argument(std::string_view action, const json::value& arguments, std::string_view key) {
  std::string text = arguments.is_object() ? find_string(arguments.get_object(), key) : "";
  if (text.empty())
    throw Fault(FaultKind::bad_request,
                fmt::format("Invalid input for field/attribute {}. '{}' is required.", action, key));
  return text;
}

http::Response add_security_group(Core& core, api::Call& call, const json::value& arguments) {
  const std::string name = text_argument("addSecurityGroup", arguments, "name");
  return change_server(core, call, [&](db::Tx& tx, const ServerRow& row) {
    core.networks.security_groups().add_to_server(tx, call.caller(), row.server_id(), name);
  });
}

http::Response remove_security_group(Core& core, api::Call& call, const json::value& arguments) {
  const std::string name = text_argument("removeSecurityGroup", arguments, "name");
  return change_server(core, call, [&](db::Tx& tx, const ServerRow& row) {
    core.networks.security_groups().remove_from_server(tx, call.caller(), row.server_id(), name);
  });
}

void only_before_2_44(const api::Call& call, std::string_view action) {
  if (call.since(2, 44))
    throw Fault(FaultKind::bad_request, fmt::format("There is no such action: {}", action),
                "Give the port another address through the Networking API.");
}

http::Response add_fixed_ip(Core& core, api::Call& call, const json::value& arguments) {
  only_before_2_44(call, "addFixedIp");
  const std::string network = text_argument("addFixedIp", arguments, "networkId");
  return change_server(core, call, [&](db::Tx& tx, const ServerRow& row) {
    core.networks.add_fixed_ip(tx, row.server_id(), network);
  });
}

http::Response remove_fixed_ip(Core& core, api::Call& call, const json::value& arguments) {
  only_before_2_44(call, "removeFixedIp");
  const std::string address = text_argument("removeFixedIp", arguments, "address");
  return change_server(core, call, [&](db::Tx& tx, const ServerRow& row) {
    core.networks.remove_fixed_ip(tx, row.server_id(), address);
  });
}

using Action = http::Response (*)(Core&, api::Call&, const json::value&);
struct ActionRow {
  std::string_view name, rule;
  Action act;  ///< null: known to nova, missing here
};
constexpr ActionRow kActions[] = {
    {"os-start", "servers:start", start},
    {"os-stop", "servers:stop", stop},
    {"reboot", "servers:reboot", reboot},
    {"os-resetState", "os-admin-actions:reset_state", reset_state},
    {"lock", "os-lock-server:lock", lock},
    {"unlock", "os-lock-server:unlock", unlock},
    {"forceDelete", "os-deferred-delete:force", [](Core& core, api::Call& call, const json::value&) { return erase(core, call, 202); }},
    {"os-getConsoleOutput", "os-console-output", console_output},
    {"os-getVNCConsole", "os-remote-consoles", vnc_console},
    {"os-getSerialConsole", "os-remote-consoles", serial_console},
    {"createImage", "servers:create_image", nullptr},
    {"createBackup", "os-create-backup", nullptr},
    {"resize", "servers:resize", resize},
    {"confirmResize", "servers:confirm_resize", confirm_resize},
    {"revertResize", "servers:revert_resize", revert_resize},
    {"rebuild", "servers:rebuild", nullptr},
    {"pause", "os-pause-server:pause", pause},
    {"unpause", "os-pause-server:unpause", unpause},
    {"suspend", "os-suspend-server:suspend", nullptr},
    {"resume", "os-suspend-server:resume", nullptr},
    {"rescue", "os-rescue", nullptr},
    {"unrescue", "os-unrescue", nullptr},
    {"shelve", "os-shelve:shelve", nullptr},
    {"shelveOffload", "os-shelve:shelve_offload", nullptr},
    {"unshelve", "os-shelve:unshelve", nullptr},
    {"migrate", "os-migrate-server:migrate", migrate},
    {"os-migrateLive", "os-migrate-server:migrate_live", migrate_live},
    {"evacuate", "os-evacuate", evacuate},
    {"changePassword", "os-admin-password", nullptr},
    {"restore", "os-deferred-delete:restore", restore},
    {"trigger_crash_dump", "servers:trigger_crash_dump", nullptr},
    {"addSecurityGroup", "os-security-groups:add", add_security_group},
    {"removeSecurityGroup", "os-security-groups:remove", remove_security_group},
    {"addFixedIp", "os-multinic:add", add_fixed_ip},
    {"removeFixedIp", "os-multinic:remove", remove_fixed_ip},
    {"addFloatingIp", "os-floating-ips:add", nullptr},
    {"removeFloatingIp", "os-floating-ips:remove", nullptr},
    {"injectNetworkInfo", "os-admin-actions:inject_network_info", nullptr},
    {"os-getSPICEConsole", "os-remote-consoles", nullptr},
    {"os-getRDPConsole", "os-remote-consoles", nullptr}};

http::Response act(Core& core, api::Call& call) {
  const auto& body = call.body();
  if (body.size() != 1) throw Fault(FaultKind::bad_request, "The body must hold exactly one action.");
  const std::string name(body.begin()->key());
  const auto row = std::find_if(std::begin(kActions), std::end(kActions),
                                [&](const ActionRow& r) { return r.name == name; });
  if (name == "resetNetwork") throw Fault(FaultKind::gone, "This resource is no longer available.");  // as in nova since 25
  if (row == std::end(kActions))
    throw Fault(FaultKind::bad_request, fmt::format("There is no such action: {}", name));
  call.require(fmt::format("os_compute_api:{}", row->rule), own_target(call));
  if (row->act) return row->act(core, call, body.begin()->value());
  core.database.read([&](db::Tx& tx) { need_server(tx, call, call.param("id")); });
  throw Fault(FaultKind::not_implemented,
              fmt::format("The server action '{}' is not implemented yet.", name));
}

http::Response update(Core& core, api::Call& call) {
  using api::Set;
  static const api::Resource kResource{
      "server",
      "servers",
      {{.name = "name", .update = Set::optional, .min = 1, .max = 255},
       {.name = "OS-DCF:diskConfig", .update = Set::optional, .one_of = {"AUTO", "MANUAL"}},
       {.name = "accessIPv4", .update = Set::optional},
       {.name = "accessIPv6", .update = Set::optional},
       {.name = "description", .update = Set::optional, .nullable = true, .max = 255, .since = {2, 19}},
       {.name = "hostname", .update = Set::optional, .min = 1, .max = 63, .since = {2, 90}}}};
  const auto in = api::validate_update(kResource, call.body_of("server"), call.version);
  Changes changes;
  if (in.contains("name")) changes.push_back({"name", parse_name(in, "name")});
  if (in.contains("description"))
    changes.push_back({"description", has_value(in, "description") ? db::Value(find_string(in, "description"))
                                                                   : db::Value()});
  if (in.contains("OS-DCF:diskConfig"))
    changes.push_back({"disk_config", find_string(in, "OS-DCF:diskConfig")});
  if (in.contains("hostname")) changes.push_back({"hostname", find_string(in, "hostname")});
  for (const auto& [key, column, family] :
       {std::tuple{"accessIPv4", "access_ip_v4", 4}, std::tuple{"accessIPv6", "access_ip_v6", 6}}) {
    if (!in.contains(key)) continue;
    changes.push_back({column, parse_access_ip(in, key, family)});
  }
  changes.push_back({"updated_at", core.clock.now()});
  std::string text;
  core.database.write([&](db::Tx& tx) {
    const auto row = need_locked_server(tx, call, call.param("id"));
    update_server(tx, row.id, changes);
    const auto shown = load_shown(core, tx, call, {need_server(tx, call, row.id)}, View::update);
    text = "{\"server\":" + server_text(call, shown.front(), View::update) + "}";
  });
  return api::reply_text(200, std::move(text));
}

}  // namespace

void add_server_action_routes(Routes& routes, Core& core) {
  routes.add("PUT", "/servers/{id}", "servers:update",
             [&core](api::Call& call) { return update(core, call); });
  routes.add("DELETE", "/servers/{id}", "servers:delete",
             [&core](api::Call& call) { return erase(core, call, 204); });
  routes.add("POST", "/servers/{id}/action", "servers:action",
             [&core](api::Call& call) { return act(core, call); });
  routes.add("POST", "/servers/{id}/remote-consoles", "os-remote-consoles",
             [&core](api::Call& call) { return remote_console(core, call); }, {2, 6});
}

}  // namespace virga::compute
