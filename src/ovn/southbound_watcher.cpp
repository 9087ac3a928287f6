#include <algorithm>

#include "base/text.h"
#include "ovn/api.h"
#include "ovn/client.h"

namespace virga::ovn {

/// A copy of what the callbacks need while the client's replica is locked: chassis UUID to hostname, port to
/// host.
struct SouthboundWatcher::State {
  Options options;
  mutable std::mutex mutex;
  std::map<std::string, std::string> hostnames;
  std::map<std::string, std::string> bound;  ///< port to chassis UUID, while up
  std::map<std::string, std::string> told;   ///< port to hostname, as told in on_port_up

  void changed(const RowChange& change);
  void binding_changed(const RowChange& change);
  void tell(const std::string& port);
};

void SouthboundWatcher::State::changed(const RowChange& change) {
  if (change.table == "Port_Binding") return binding_changed(change);
  std::vector<std::string> ports;
  if (change.table == "Chassis") {
    const std::lock_guard lock(mutex);
    if (change.after)
      hostnames[change.uuid] = column(*change.after, "hostname").as_text();
    else
      hostnames.erase(change.uuid);
    for (const auto& [port, chassis] : bound)
      if (chassis == change.uuid) ports.push_back(port);
  }
  for (const auto& port : ports) tell(port);
  if (options.on_chassis_change) options.on_chassis_change();
}

void SouthboundWatcher::State::binding_changed(const RowChange& change) {
  const Row& row = change.after ? *change.after : *change.before;
  if (!column(row, "type").as_text().empty()) return;
  const std::string port = column(row, "logical_port").as_text();
  {
    const std::lock_guard lock(mutex);
    const bool up = change.after && column(row, "up").as_boolean() && !column(row, "chassis").empty();
    if (up)
      bound[port] = column(row, "chassis").as_text();
    else
      bound.erase(port);
  }
  tell(port);
}

/// Compares what was said of a port with what is so: the rows of port and chassis may come in either order.
void SouthboundWatcher::State::tell(const std::string& port) {
  std::string host;
  {
    const std::lock_guard lock(mutex);
    const auto at = bound.find(port);
    const auto name = at == bound.end() ? hostnames.end() : hostnames.find(at->second);
    if (name != hostnames.end()) host = name->second;
    const auto before = told.find(port);
    if ((before == told.end() ? "" : before->second) == host) return;
    if (host.empty())
      told.erase(port);
    else
      told[port] = host;
  }
  if (host.empty()) {
    if (options.on_port_down) options.on_port_down(port);
  } else if (options.on_port_up) {
    options.on_port_up(port, host);
  }
}

SouthboundWatcher::SouthboundWatcher(Options options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  client_ = std::make_unique<Client>(ClientOptions{
      .remote = state_->options.remote,
      .database = "OVN_Southbound",
      .monitors = {{"Chassis", {"name", "hostname", "encaps", "other_config"}},
                   {"Encap", {"type", "ip"}},
                   {"Chassis_Private", {"name", "nb_cfg", "nb_cfg_timestamp"}},
                   {"Port_Binding", {"logical_port", "type", "up", "chassis"}}},
      .on_change = [state = state_.get()](const RowChange& change) { state->changed(change); }});
}
SouthboundWatcher::~SouthboundWatcher() = default;

bool SouthboundWatcher::wait_connected(std::chrono::milliseconds timeout) const {
  return client_->wait_ready(timeout);
}

namespace {

/// "public:br-ex,dc:br-dc" -> public, dc.
std::vector<std::string> physical_networks_of(const TextMap& other_config) {
  std::vector<std::string> names;
  const auto mappings = other_config.find("ovn-bridge-mappings");
  if (mappings == other_config.end()) return names;
  for (const auto& mapping : split_words(mappings->second, ',')) names.push_back(mapping.substr(0, mapping.find(':')));
  return names;
}

}  // namespace

std::vector<Chassis> SouthboundWatcher::chassis() const {
  std::vector<Chassis> out;
  client_->read([&](const Replica& replica) {
    for (const auto& [uuid, row] : replica.table("Chassis")) {
      Chassis c{.name = column(row, "name").as_text(), .hostname = column(row, "hostname").as_text()};
      for (const auto& encap : column(row, "encaps").as_texts()) {
        const Row* e = replica.find("Encap", encap);
        if (!e) continue;
        c.encap_types.push_back(column(*e, "type").as_text());
        c.encap_ips.push_back(column(*e, "ip").as_text());
      }
      c.physical_networks = physical_networks_of(column(row, "other_config").as_text_map());
      if (const Row* p = replica.find_by_name("Chassis_Private", c.name).second) {
        c.nb_cfg = column(*p, "nb_cfg").as_integer();
        c.nb_cfg_timestamp = column(*p, "nb_cfg_timestamp").as_integer();
      }
      out.push_back(std::move(c));
    }
  });
  std::sort(out.begin(), out.end(), [](const Chassis& a, const Chassis& b) { return a.name < b.name; });
  return out;
}

std::optional<std::string> SouthboundWatcher::port_host(const std::string& port) const {
  const std::lock_guard lock(state_->mutex);
  const auto it = state_->told.find(port);
  return it == state_->told.end() ? std::nullopt : std::optional(it->second);
}

}  // namespace virga::ovn
