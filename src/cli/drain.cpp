#include "cli/drain.h"

#include <fmt/format.h>

#include <cstdio>
#include <deque>
#include <list>
#include <thread>

#include "base/fault.h"
#include "base/json.h"
#include "cli/cloud_client.h"

namespace virga::cli {
namespace {

struct Mover {
  std::string id, name;
  bool runs = false;  ///< and so it goes
};

class Drain {
 public:
  Drain(cloud::RestClient& client, std::string host) : client_(client), host_(std::move(host)) {}

  int run(std::deque<Mover> waiting, int at_once) {
    while (!waiting.empty() || !moving_.empty()) {
      while (!waiting.empty() && static_cast<int>(moving_.size()) < at_once) {
        begin(waiting.front());
        waiting.pop_front();
      }
      moving_.remove_if([this](const Mover& server) { return is_over(server); });
      if (!moving_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    return left_;
  }

 private:
  std::string action_of(const Mover& server) const { return fmt::format("/compute/v2.1/servers/{}/action", server.id); }

  void stays(const Mover& server, const std::string& why) {
    ++left_;
    std::printf("%s (%s): stays: %s\n", server.name.c_str(), server.id.c_str(), why.c_str());
  }

  void begin(const Mover& server) {
    const json::object how = server.runs ? json::object{{"os-migrateLive", {{"host", nullptr}, {"block_migration", "auto"}}}}
                                         : json::object{{"migrate", nullptr}};
    try {
      client_.post(action_of(server), how);
      moving_.push_back(server);
    } catch (const Fault& fault) {
      stays(server, fmt::format("{} {}", fault.message, fault.hint));
    }
  }

  bool is_over(const Mover& server) {
    try {
      const json::value shown = client_.get("/compute/v2.1/servers/" + server.id);
      const json::object& s = shown.at("server").as_object();
      const std::string host = find_string(s, "OS-EXT-SRV-ATTR:host");
      if (find_string(s, "status") == "VERIFY_RESIZE") {
        client_.post(action_of(server), {{"confirmResize", nullptr}});
        std::printf("%s (%s): is on %s\n", server.name.c_str(), server.id.c_str(), host.c_str());
        return true;
      }
      if (has_value(s, "OS-EXT-STS:task_state")) return false;
      if (host != host_) std::printf("%s (%s): is on %s\n", server.name.c_str(), server.id.c_str(), host.c_str());
      if (host == host_) stays(server, fmt::format("it could not go elsewhere; `virga explain server {}` says why", server.id));
      return true;
    } catch (const Fault& fault) {
      if (fault.kind == FaultKind::not_found) return true;  // deleted meanwhile
      throw;
    }
  }

  cloud::RestClient& client_;
  const std::string host_;
  std::list<Mover> moving_;
  int left_ = 0;
};

}  // namespace

int drain_host(const Config& config, const std::string& name, const std::string& reason, int at_once, bool cold) {
  cloud::RestClient client = compute_client(config);
  const json::object service = service_of(client, name);
  client.put("/compute/v2.1/os-services/" + find_string(service, "id"),
             json::object{{"status", "disabled"}, {"disabled_reason", reason.empty() ? "drained" : reason}});
  const json::value answer = client.get("/compute/v2.1/servers/detail?all_tenants=1&host=" + http::percent_encode(name));
  std::deque<Mover> servers;
  for (const auto& entry : answer.at("servers").as_array()) {
    const std::string status = str(entry.at("status"));
    servers.push_back({str(entry.at("id")), str(entry.at("name")), !cold && (status == "ACTIVE" || status == "PAUSED")});
  }
  return Drain(client, name).run(std::move(servers), at_once);
}

}  // namespace virga::cli
