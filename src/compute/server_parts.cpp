// What hangs on a server: metadata, tags, addresses, interfaces, security groups, password, instance actions.

#include "compute/quotas.h"
#include "compute/server_view.h"
#include "compute/servers.h"

#include <cstring>
#include <set>

namespace virga::compute {

Metadata parse_metadata(const json::object& body) {
  Metadata all;
  for (const auto& [key, value] : body) {
    const std::string name(key);
    const auto fits = [](std::string_view text) { return text.size() <= 255; };
    const auto allowed = [](char c) { return isalnum(static_cast<unsigned char>(c)) || strchr("-_:. ", c); };
    if (name.empty() || !fits(name) || !std::all_of(name.begin(), name.end(), allowed))
      throw Fault(FaultKind::bad_request,
                  fmt::format("Invalid input for field/attribute metadata. Value: {}. The key must have 1 to "
                              "255 letters, digits, '-_:. '.",
                              name));
    if (!value.is_string() || !fits(std::string_view(value.get_string())))
      throw Fault(
          FaultKind::bad_request,
          fmt::format(
              "Invalid input for field/attribute {}. Value: {}. It must be text of at most 255 characters.",
              name, json::serialize(value)));
    all[name] = str(value);
  }
  return all;
}

void check_tag(const json::value& tag) {
  const std::string text = tag.is_string() ? str(tag) : "";
  if (text.empty() || text.size() > 60 || text.find_first_of(",/") != std::string::npos)
    throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute tags. Value: {}. A "
                                                    "tag has 1 to 60 characters, without ',' and '/'.",
                                                    text));
}

namespace {

json::object to_json(const Metadata& all) {
  json::object out;
  for (const auto& [name, value] : all) out[name] = value;
  return out;
}

void check_metadata_quota(Core& core, db::Tx& tx, const ServerRow& row) {
  const int64_t limit = quota_limits(core, tx, row.project_id).at("metadata_items");
  const int64_t count =
      tx.first("SELECT COUNT(*) FROM server_metadata WHERE server_id = ?", row.id)->integer(0);
  if (limit >= 0 && count > limit)
    throw Fault(FaultKind::forbidden, fmt::format("Maximum number of metadata items exceeds {}", limit));
}

Metadata write_metadata(Core& core, api::Call& call, const Metadata& items, bool replace) {
  return core.database.write([&](db::Tx& tx) {
    const auto row = need_locked_server(tx, call, call.param("id"));
    refuse_if_locked(call, row);
    if (replace) tx.exec("DELETE FROM server_metadata WHERE server_id = ?", row.id);
    put_server_metadata(tx, row.id, items);
    check_metadata_quota(core, tx, row);
    update_server(tx, row.id, {{"updated_at", core.clock.now()}});
    return server_metadata(tx, row.id);
  });
}

Fault no_item() {
  return Fault(FaultKind::not_found, "Metadata item was not found");
}

void add_metadata_routes(Routes& routes, Core& core) {
  const std::string all = "/servers/{id}/metadata", one = all + "/{key}";
  routes.add("GET", all, "server-metadata:index", [&core](api::Call& call) {
    const auto items = core.database.read(
        [&](db::Tx& tx) { return server_metadata(tx, need_server(tx, call, call.param("id")).id); });
    return api::reply(200, json::object{{"metadata", to_json(items)}});
  });
  for (const char* method : {"POST", "PUT"})
    routes.add(
        method, all,
        std::string("server-metadata:") + (*method == 'P' && method[1] == 'U' ? "update_all" : "create"), [&core, replace = method[1] == 'U'](api::Call& call) {
          const auto items = parse_metadata(call.body_of("metadata"));
          return api::reply(200,
                            json::object{{"metadata", to_json(write_metadata(core, call, items, replace))}});
        });
  routes.add("GET", one, "server-metadata:show", [&core](api::Call& call) {
    const auto items = core.database.read(
        [&](db::Tx& tx) { return server_metadata(tx, need_server(tx, call, call.param("id")).id); });
    const auto it = items.find(call.param("key"));
    if (it == items.end()) throw no_item();
    return api::reply(200, json::object{{"meta", json::object{{it->first, it->second}}}});
  });
  routes.add("PUT", one, "server-metadata:update", [&core](api::Call& call) {
    const auto items = parse_metadata(call.body_of("meta"));
    if (items.size() != 1)
      throw Fault(FaultKind::bad_request,
                  "Invalid input for field/attribute meta. It must hold exactly one item.");
    if (items.begin()->first != call.param("key"))
      throw Fault(FaultKind::bad_request, "Request body and URI mismatch");
    write_metadata(core, call, items, false);
    return api::reply(200, json::object{{"meta", to_json(items)}});
  });
  routes.add("DELETE", one, "server-metadata:delete", [&core](api::Call& call) {
    core.database.write([&](db::Tx& tx) {
      const auto row = need_locked_server(tx, call, call.param("id"));
      refuse_if_locked(call, row);
      if (tx.exec("DELETE FROM server_metadata WHERE server_id = ? AND name = ?", row.id,
                  call.param("key")) == 0)
        throw no_item();
    });
    return api::reply(204);
  });
}

json::array tags_view(const std::vector<std::string>& tags) {
  json::array all;
  for (const auto& tag : tags) all.push_back(json::value(tag));
  return all;
}

void add_tag_routes(Routes& routes, Core& core) {
  const std::string all = "/servers/{id}/tags", one = all + "/{tag}";
  const api::Version since{2, 26};
  const auto too_many = [] {
    return Fault(FaultKind::bad_request, "The number of tags exceeded the per-server limit 50");
  };
  routes.add(
      "GET", all, "os-server-tags:index",
      [&core](api::Call& call) {
        return api::reply(200, json::object{{"tags", tags_view(core.database.read([&](db::Tx& tx) {
                                               return server_tags(tx,
                                                                  need_server(tx, call, call.param("id")).id);
                                             }))}});
      },
      since);
  routes.add(
      "PUT", all, "os-server-tags:update_all",
      [&core, too_many](api::Call& call) {
        const auto* list = find_array(call.body(), "tags");
        if (!list)
          throw Fault(FaultKind::bad_request,
                      "Invalid input for field/attribute tags. It is a required list.");
        if (list->size() > 50) throw too_many();
        for (const auto& tag : *list) check_tag(tag);
        const auto tags = core.database.write([&](db::Tx& tx) {
          const auto row = need_locked_server(tx, call, call.param("id"));
          tx.exec("DELETE FROM server_tags WHERE server_id = ?", row.id);
          std::set<std::string> wanted;
          for (const auto& tag : *list) wanted.insert(str(tag));
          for (const auto& tag : wanted)
            tx.exec("INSERT INTO server_tags (server_id, tag) VALUES (?, ?)", row.id, tag);
          return server_tags(tx, row.id);
        });
        return api::reply(200, json::object{{"tags", tags_view(tags)}});
      },
      since);
  routes.add(
      "DELETE", all, "os-server-tags:delete_all",
      [&core](api::Call& call) {
        core.database.write([&](db::Tx& tx) {
          tx.exec("DELETE FROM server_tags WHERE server_id = ?",
                  need_locked_server(tx, call, call.param("id")).id);
        });
        return api::reply(204);
      },
      since);
  const auto missing = [](const api::Call& call) {
    return Fault(FaultKind::not_found,
                 fmt::format("Server {} has no tag '{}'", call.param("id"), call.param("tag")));
  };
  routes.add(
      "GET", one, "os-server-tags:show",
      [&core, missing](api::Call& call) {
        const auto tags = core.database.read(
            [&](db::Tx& tx) { return server_tags(tx, need_server(tx, call, call.param("id")).id); });
        if (std::find(tags.begin(), tags.end(), call.param("tag")) == tags.end()) throw missing(call);
        return api::reply(204);
      },
      since);
  routes.add(
      "PUT", one, "os-server-tags:update",
      [&core, too_many](api::Call& call) {
        check_tag(json::value(call.param("tag")));
        const bool made = core.database.write([&](db::Tx& tx) {
          const auto row = need_locked_server(tx, call, call.param("id"));
          const auto tags = server_tags(tx, row.id);
          if (std::find(tags.begin(), tags.end(), call.param("tag")) != tags.end()) return false;
          if (tags.size() >= 50) throw too_many();
          tx.exec("INSERT INTO server_tags (server_id, tag) VALUES (?, ?)", row.id, call.param("tag"));
          return true;
        });
        auto answer = api::reply(made ? 201 : 204);
        answer.headers.set(
            "Location", call.base_url + "/v2.1/servers/" + call.param("id") + "/tags/" + call.param("tag"));
        return answer;
      },
      since);
  routes.add(
      "DELETE", one, "os-server-tags:delete",
      [&core, missing](api::Call& call) {
        core.database.write([&](db::Tx& tx) {
          const auto row = need_locked_server(tx, call, call.param("id"));
          if (tx.exec("DELETE FROM server_tags WHERE server_id = ? AND tag = ?", row.id, call.param("tag")) ==
              0)
            throw missing(call);
        });
        return api::reply(204);
      },
      since);
}

std::vector<network::PortInfo> ports_of(Core& core, const api::Call& call) {
  return core.database.read([&](db::Tx& tx) {
    return core.networks.server_ports(tx, need_server(tx, call, call.param("id")).server_id());
  });
}

json::object interface_view(const api::Call& call, const network::PortInfo& port) {
  json::array ips;
  for (const auto& ip : port.fixed_ips)
    ips.push_back(json::object{{"subnet_id", ip.subnet_id}, {"ip_address", ip.address}});
  json::object view{{"port_id", port.id.str()},
                    {"net_id", port.network_id.str()},
                    {"mac_addr", port.mac},
                    {"port_state", port.status},
                    {"fixed_ips", std::move(ips)}};
  if (call.since(2, 70)) view["tag"] = nullptr;
  return view;
}

void add_network_routes(Routes& routes, Core& core) {
  routes.add("GET", "/servers/{id}/ips", "ips:index", [&core](api::Call& call) {
    return api::reply(200, json::object{{"addresses", addresses_view(ports_of(core, call))}});
  });
  routes.add("GET", "/servers/{id}/ips/{label}", "ips:show", [&core](api::Call& call) {
    const auto all = addresses_view(ports_of(core, call));
    const auto* one = all.if_contains(call.param("label"));
    if (!one) throw Fault(FaultKind::not_found, "Instance is not a member of specified network");
    return api::reply(200, json::object{{call.param("label"), *one}});
  });
  routes.add("GET", "/servers/{id}/os-interface", "os-attach-interfaces:list",
             [&core](api::Call& call) {
               json::array all;
               for (const auto& port : ports_of(core, call)) all.push_back(interface_view(call, port));
               return api::reply(200, json::object{{"interfaceAttachments", std::move(all)}});
             });
  routes.add("GET", "/servers/{id}/os-interface/{port}", "os-attach-interfaces:show",
             [&core](api::Call& call) {
               for (const auto& port : ports_of(core, call))
                 if (port.id.str() == call.param("port"))
                   return api::reply(200, json::object{{"interfaceAttachment", interface_view(call, port)}});
               throw Fault(FaultKind::not_found, fmt::format("Instance {} does not have a port with id {}",
                                                             call.param("id"), call.param("port")));
             });
  for (const auto& [method, path, rule] :
       {std::tuple{"POST", "/servers/{id}/os-interface", "os-attach-interfaces:create"},
        std::tuple{"DELETE", "/servers/{id}/os-interface/{port}", "os-attach-interfaces:delete"}})
    routes.add(method, path, rule,
               [&core](api::Call& call) -> http::Response {
                 core.database.read([&](db::Tx& tx) { need_server(tx, call, call.param("id")); });
                 throw Fault(FaultKind::not_implemented,
                             "Attaching and detaching interfaces of a running server is not implemented yet.",
                             "Give the networks when the server is created.");
               });
  routes.add("GET", "/servers/{id}/os-volume_attachments", "os-volumes-attachments:index",
             [&core](api::Call& call) {
               core.database.read([&](db::Tx& tx) { need_server(tx, call, call.param("id")); });
               return api::reply(200, json::object{{"volumeAttachments", json::array()}});
             });
  routes.add("GET", "/servers/{id}/os-server-password", "os-server-password:show",
             [&core](api::Call& call) {
               const auto row =
                   core.database.read([&](db::Tx& tx) { return need_server(tx, call, call.param("id")); });
               return api::reply(200, json::object{{"password", row.guest_password}});
             });
  routes.add(
      "DELETE", "/servers/{id}/os-server-password", "os-server-password:clear",
      [&core](api::Call& call) {
        core.database.write([&](db::Tx& tx) {
          update_server(tx, need_locked_server(tx, call, call.param("id")).id, {{"guest_password", ""}});
        });
        return api::reply(204);
      });
}

json::value iso_or_null(const std::string& db_text) {
  return db_text.empty() ? json::value(nullptr) : json::value(db_to_iso(db_text));
}

json::object action_view(const api::Call& call, const operations::Operation& o) {
  json::object view{{"action", o.kind},
                    {"instance_uuid", o.resource_id},
                    {"request_id", o.request_id},
                    {"user_id", o.user_id},
                    {"project_id", o.project_id},
                    {"start_time", iso_or_null(o.started_at)},
                    {"message", o.state == "failed" ? json::value("Error") : json::value(nullptr)}};
  // nova writes microseconds here and no zone.
  if (o.started_at.size() > 10) {
    std::string text = o.started_at;
    text[10] = 'T';
    view["start_time"] = text;
  }
  if (call.since(2, 58))
    view["updated_at"] = o.finished_at.empty()
                             ? view["start_time"]
                             : json::value(o.finished_at.substr(0, 10) + "T" + o.finished_at.substr(11));
  return view;
}

json::array events_view(const api::Call& call, db::Tx& tx, const operations::Operation& o) {
  json::array events;
  for (const auto& step : operations::steps(tx, o.id)) {
    const auto finish = parse_time(step.at);
    json::object event{{"event", "compute_" + step.step},
                       {"start_time", to_iso_us_no_zone(finish - std::chrono::microseconds(step.took_us))},
                       {"finish_time", to_iso_us_no_zone(finish)},
                       {"result", step.ok ? "Success" : "Error"}};
    if (call.allows("os_compute_api:os-instance-actions:events", own_target(call)))
      event["traceback"] = step.message.empty() ? json::value(nullptr) : json::value(step.message);
    if (call.since(2, 62)) {
      event["hostId"] = opaque_host_id(o.project_id, step.host);
      if (call.allows("os_compute_api:os-instance-actions:events", own_target(call))) event["host"] = step.host;
    }
    if (call.since(2, 84) && call.allows("os_compute_api:os-instance-actions:events:details", own_target(call)))
      event["details"] = step.ok || step.message.empty() ? json::value(nullptr) : json::value(step.message);
    events.push_back(std::move(event));
  }
  return events;
}

/// From 2.21 on also of deleted servers.
ServerRow need_once_server(db::Tx& tx, const api::Call& call) {
  const auto row = find_server(tx, ServerId(call.param("id")));
  if (row && row->deleted && call.since(2, 21) &&
      (call.caller().is_admin() || row->project_id == call.caller().project_id))
    return *row;
  return need_server(tx, call, call.param("id"));
}

void add_history_routes(Routes& routes, Core& core) {
  routes.add("GET", "/servers/{id}/os-instance-actions", "os-instance-actions:list",
             [&core](api::Call& call) {
               json::array all;
               core.database.read([&](db::Tx& tx) {
                 size_t limit = 1000;
                 if (const auto text = call.request.query_value("limit"); text && call.since(2, 58))
                   limit = std::strtoul(text->c_str(), nullptr, 10);
                 for (const auto& o : operations::of_resource(tx, "server", need_once_server(tx, call).id))
                   if (all.size() < limit) all.push_back(action_view(call, o));
               });
               return api::reply(200, json::object{{"instanceActions", std::move(all)}});
             });
  routes.add("GET", "/servers/{id}/os-instance-actions/{request}", "os-instance-actions:show",
             [&core](api::Call& call) {
               json::object view;
               core.database.read([&](db::Tx& tx) {
                 for (const auto& o : operations::of_resource(tx, "server", need_once_server(tx, call).id)) {
                   if (o.request_id != call.param("request")) continue;
                   view = action_view(call, o);
                   if (call.allows("os_compute_api:os-instance-actions:events", own_target(call)) || call.since(2, 51)) view["events"] = events_view(call, tx, o);
                   return;
                 }
                 throw Fault(FaultKind::not_found,
                             fmt::format("Action for request_id {} on instance {} could not be found.",
                                         call.param("request"), call.param("id")));
               });
               return api::reply(200, json::object{{"instanceAction", std::move(view)}});
             });
}

}  // namespace

void add_server_part_routes(Routes& routes, Core& core) {
  add_metadata_routes(routes, core);
  add_tag_routes(routes, core);
  add_network_routes(routes, core);
  add_history_routes(routes, core);
}

}  // namespace virga::compute
