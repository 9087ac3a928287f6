#pragma once
// A server on one of two hosts, for tests of what moves it.

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::test {

inline const Fields kNew{{"OpenStack-API-Version", "compute 2.80"}};

class MovingCloud : public testing::Test {
 protected:
  MovingCloud() {
    cloud.add_host("cafe1");
    id = cloud.boot("vm").at("server.id");
    cloud.add_host("cafe2");
    cloud.make_flavor("2", "m1.small", 1024, 2);
  }
  Reply act(json::object action, const std::string& who = "admin") {
    return cloud.post("/compute/v2.1/servers/" + id + "/action", std::move(action), who, kNew);
  }
  Reply resize(const char* flavor, const std::string& who = "demo") { return act({{"resize", {{"flavorRef", flavor}}}}, who); }
  Reply migrate(json::value how = nullptr) { return act({{"migrate", std::move(how)}}); }
  Reply confirm() { return act({{"confirmResize", nullptr}}, "demo"); }
  Reply revert() { return act({{"revertResize", nullptr}}, "demo"); }
  std::string shown(const std::string& path) { return cloud.show(id, "admin").at("server." + path); }
  std::string status() { return shown("status"); }
  std::string host() { return shown("OS-EXT-SRV-ATTR:host"); }
  std::string task() { return shown("OS-EXT-STS:task_state"); }
  int64_t number(const std::string& sql) {
    return cloud.database().read([&](db::Tx& tx) { return tx.first(sql)->integer(0); });
  }
  int64_t generation() { return number("SELECT generation FROM servers WHERE id = '" + id + "'"); }
  int64_t used(const char* host, const char* what) {
    return cloud.database().read([&](db::Tx& tx) {
      const auto row = tx.first("SELECT SUM(amount) FROM allocations WHERE provider_uuid = ? AND resource_class = ?", host_facts(host).id, what);
      return row ? row->integer(0) : 0;
    });
  }
  int64_t charged(const char* what) {
    return number(fmt::format("SELECT used FROM compute_usages WHERE project_id = 'demo' AND resource = '{}'", what));
  }
  std::vector<link::DesiredServer> told(const char* host) { return cloud.compute->connect(host_facts(host)).servers; }
  /// The host does what it is told, and says so.
  void catch_up(const char* host) { cloud.hub->push(host_facts(host).id, cloud.compute->connect(host_facts(host))); }
  void say(const char* host, link::Power power, int64_t generation) {
    link::ObservedServer seen;
    seen.id = ServerId(id);
    seen.power = power;
    seen.generation = generation;
    cloud.compute->observe(host_facts(host).id, false, {seen}, {});
  }
  void fail(const char* host, int64_t generation) {
    link::ObservedServer seen;
    seen.id = ServerId(id);
    seen.power = link::Power::absent;
    seen.failed_generation = generation;
    seen.permanent = true;
    seen.cause = "no space left";
    cloud.compute->observe(host_facts(host).id, false, {seen}, {});
  }

  ComputeCloud cloud;
  std::string id;
};

}  // namespace virga::test
