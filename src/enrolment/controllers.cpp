// Controllers: a machine becomes one with a token; who they are.

#include "base/fault.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "enrolment/service.h"

namespace virga::enrolment {

json::array EnrolmentService::links() {
  json::array all{json::value(fmt::format("{}:{}", options_.address, options_.link_port))};
  if (!options_.controllers) return all;
  const std::string mine = str(all.front());
  for (const auto& c : database_.read([&](db::Tx& tx) { return options_.controllers->all(tx); }))
    if (c.alive && !c.link_address.empty() && c.link_address != mine) all.emplace_back(c.link_address);
  return all;
}

/// The token is the only proof, and the answer is the cloud: the connection is TLS to whom the token names (cloud/join.h).
http::Response EnrolmentService::join_controller(api::Call& call) {
  const json::object& given = call.body_of("controller");
  const std::string secret = need_text(given, "token", 200), name = need_text(given, "name", 63), id = need_text(given, "id", 36);
  check_hostname(name);
  if (!looks_like_uuid(id)) throw Fault(FaultKind::bad_request, "id must be a UUID.");
  if (!database_.read([&](db::Tx& tx) { return find_token(tx, secret).has_value(); })) throw unknown_token();
  ca();  // makes the master key, if there was no use for it yet
  const std::string master_key = read_file(options_.master_key_file);
  std::string sealed;
  database_.write([&](db::Tx& tx) {
    const TokenRow token = need_token(tx, "controller", secret, id, name, clock_.now());
    sealed = token.sealed;
    if (token.used_at) return;  // the answer was lost: the same machine again
    if (!use_token(tx, token, HostId(id), id, clock_.now()))
      throw Fault(FaultKind::forbidden, "This token was used already.");
  });
  log::warn("{} ({}) becomes a controller of this cloud: it was given the master key", name, id);
  return api::reply(200, json::object{{"config", options_.controller_config}, {"master_key", master_key}, {"controllers", links()}, {"sealed", sealed}});
}

http::Response EnrolmentService::list_controllers(api::Call&) {
  json::array all;
  if (options_.controllers)
    for (const auto& c : database_.read([&](db::Tx& tx) { return options_.controllers->all(tx); }))
      all.push_back(json::object{{"id", c.id},
                                 {"name", c.name},
                                 {"state", c.alive ? "up" : "down"},
                                 {"version", c.version},
                                 {"link", c.link_address},
                                 {"api", c.api_address},
                                 {"started_at", db_to_iso(c.started_at)},
                                 {"seen_at", db_to_iso(c.seen_at)},
                                 {"answers", c.id == options_.controllers->id()}});
  return api::reply(200, json::object{{"controllers", std::move(all)}});
}

}  // namespace virga::enrolment
