#include "compute/explain.h"

#include "compute/hosts.h"
#include "compute/materialise.h"
#include "compute/server_table.h"
#include "operations/api.h"

namespace virga::compute {
namespace {

json::object operation_view(db::Tx& tx, const operations::Operation& o) {
  json::array steps;
  for (const auto& s : operations::steps(tx, o.id))
    steps.push_back(json::object{{"at", s.at},
                                 {"step", s.step},
                                 {"ok", s.ok},
                                 {"message", s.message},
                                 {"host", s.host},
                                 {"took_us", s.took_us}});
  return {{"id", o.id.str()},
          {"kind", o.kind},
          {"resource_type", o.resource_type},
          {"resource_id", o.resource_id},
          {"state", o.state},
          {"request_id", o.request_id},
          {"fence", o.fence},
          {"host", o.host},
          {"started_at", o.started_at},
          {"finished_at", o.finished_at},
          {"message", o.message},
          {"hint", o.hint},
          {"steps", std::move(steps)}};
}

std::string power_name(int64_t power) {
  constexpr const char* kNames[] = {"unknown", "absent", "shutoff", "running", "paused", "crashed"};
  return power >= 0 && power < 6 ? kNames[power] : "unknown";
}

/// What is to be known of the server's host before what it last said is believed; "" if it is up.
std::string host_trouble(Core& core, db::Tx& tx, const ServerRow& row) {
  if (row.host_id.empty() || row.deleted) return "";
  const auto host = tx.first("SELECT last_seen, forced_down FROM hosts WHERE id = ?", row.host_id);
  if (!host) return fmt::format("{} is no host of this cloud any more", row.node);
  if (host->boolean(1)) return fmt::format("{} was declared off; the server can be built again elsewhere: virga host evacuate {}", row.node, row.node);
  const HostId id(row.host_id);
  if (core.is_up(id, host->text(0))) return "";
  return fmt::format("{} is down, and was heard of last at {}: what is seen is of then, and what is asked of the server waits for that host "
                     "(or, if it is off for good: virga host evacuate {} --fenced)",
                     row.node, last_seen(core, id, host->text(0)), row.node);
}

std::string text_of(const json::object& in, std::string_view key) {
  return find_string(in, key);
}

std::string operation_text(const json::object& o) {
  std::string out = fmt::format("{}  {} (operation {}, {}), {}\n", text_of(o, "started_at"), text_of(o, "kind"),
                                text_of(o, "id"), text_of(o, "request_id"), text_of(o, "state"));
  if (const auto* steps = find_array(o, "steps"))
    for (const auto& v : *steps) {
      const auto& s = v.as_object();
      out += fmt::format("  {}  {} {:<12} {}{}", text_of(s, "at"), find_bool(s, "ok") ? "ok  " : "FAIL",
                         text_of(s, "step"), text_of(s, "host"),
                         find_int(s, "took_us")
                             ? fmt::format(" {:.1f} ms", static_cast<double>(find_int(s, "took_us")) / 1000)
                             : "");
      out += text_of(s, "message").empty() ? "\n" : ": " + text_of(s, "message") + "\n";
    }
  if (!text_of(o, "message").empty()) out += "  cause: " + text_of(o, "message") + "\n";
  if (!text_of(o, "hint").empty()) out += "  next:  " + text_of(o, "hint") + "\n";
  return out;
}

}  // namespace

json::object explain_operation(db::Tx& tx, const std::string& id) {
  json::array found;
  if (const auto o = operations::find(tx, OperationId(id))) found.push_back(operation_view(tx, *o));
  else for (const auto& begun : operations::of_request(tx, id)) found.push_back(operation_view(tx, begun));
  if (found.empty())
    throw Fault(FaultKind::not_found, fmt::format("Operation {} could not be found.", id),
                "Give the id that `virga explain server ID` shows, or the X-Openstack-Request-Id of the call that began it.");
  return {{"operations", std::move(found)}};
}

json::object explain_server(Core& core, db::Tx& tx, const std::string& id) {
  const auto row = find_server(tx, ServerId(id));
  if (!row) throw Fault(FaultKind::not_found, fmt::format("Instance {} could not be found.", id));
  json::array operations;
  auto all = operations::of_resource(tx, "server", id);
  for (auto o = all.rbegin(); o != all.rend(); ++o) operations.push_back(operation_view(tx, *o));
  json::array ports;
  bool waiting = false;
  for (const auto& port : core.networks.server_ports(tx, row->server_id())) {
    ports.push_back(
        json::object{{"id", port.id.str()}, {"network", port.network_name}, {"status", port.status}});
    waiting = waiting || port.status != "ACTIVE";
  }
  json::object server{
      {"id", row->id},
      {"name", row->name},
      {"status", server_status(row->vm_state, row->task_state.value_or(""))},
      {"vm_state", row->vm_state},
      {"task_state", row->task_state.value_or("")},
      {"host", row->node},
      {"deleted", row->deleted != 0},
      {"desired",
       json::object{{"state", row->desired_state}, {"generation", row->generation}, {"fence", row->fence}}},
      {"observed", json::object{{"power", power_name(row->seen_power)},
                                {"generation", row->seen_generation},
                                {"failed_generation", row->failed_generation}}},
      {"ports", std::move(ports)},
      {"cause", row->cause.empty() ? row->fault_message : row->cause},
      {"hint", row->hint}};
  if (auto trouble = host_trouble(core, tx, *row); !trouble.empty()) server["host_trouble"] = std::move(trouble);
  if ((row->vm_state == "building" || row->seen_generation < row->generation) && !row->host_id.empty() && !row->deleted)
    server["waiting_for"] =
        row->seen_generation < row->generation
            ? fmt::format("the agent of {} to apply generation {}", row->node, row->generation)
        : waiting ? "a port to become ACTIVE"
                  : "the domain to run";
  return {{"server", std::move(server)}, {"operations", std::move(operations)}};
}

std::string explain_text(const json::object& explained) {
  std::string out;
  if (const auto* s = find_object(explained, "server")) {
    const auto& desired = s->at("desired").as_object();
    const auto& observed = s->at("observed").as_object();
    out += fmt::format("server {} \"{}\": {}{} on {}\n", text_of(*s, "id"), text_of(*s, "name"),
                       text_of(*s, "status"),
                       text_of(*s, "task_state").empty() ? "" : " (" + text_of(*s, "task_state") + ")",
                       text_of(*s, "host").empty() ? "no host" : text_of(*s, "host"));
    out += fmt::format("  wanted: {} (generation {}); seen: {} (generation {})\n", text_of(desired, "state"),
                       find_int(desired, "generation"), text_of(observed, "power"),
                       find_int(observed, "generation"));
    if (const auto* ports = find_array(*s, "ports"))
      for (const auto& p : *ports)
        out += fmt::format("  port {} on {}: {}\n", text_of(p.as_object(), "id"),
                           text_of(p.as_object(), "network"), text_of(p.as_object(), "status"));
    if (s->contains("host_trouble")) out += "  host: " + text_of(*s, "host_trouble") + "\n";
    if (s->contains("waiting_for")) out += "  waiting for " + text_of(*s, "waiting_for") + "\n";
    if (!text_of(*s, "cause").empty()) out += "  cause: " + text_of(*s, "cause") + "\n";
    if (!text_of(*s, "hint").empty()) out += "  next:  " + text_of(*s, "hint") + "\n";
  }
  if (const auto* all = find_array(explained, "operations"))
    for (const auto& o : *all) out += "\n" + operation_text(o.as_object());
  return out;
}

void add_explain_routes(Routes& routes, Core& core) {
  const auto answer = [](const api::Call& call, json::object explained) {
    if (call.request.query_value("format") == "text") {
      http::Response response;
      response.headers.set("Content-Type", "text/plain; charset=utf-8");
      response.body = explain_text(explained);
      return response;
    }
    explained["text"] = explain_text(explained);
    return api::reply(200, explained);
  };
  routes.add_admin("/virga/explain/server/{id}", "virga:explain", [&core, answer](api::Call& call) {
    return answer(call,
                  core.database.read([&](db::Tx& tx) { return explain_server(core, tx, call.param("id")); }));
  });
  routes.add_admin("/virga/explain/operation/{id}", "virga:explain", [&core, answer](api::Call& call) {
    return answer(call,
                  core.database.read([&](db::Tx& tx) { return explain_operation(tx, call.param("id")); }));
  });
}

}  // namespace virga::compute
