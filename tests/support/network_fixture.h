#pragma once
// Networks as compute uses them, with the real API in front.

#include <gtest/gtest.h>

#include "network/service.h"
#include "tests/support/api_client.h"

namespace virga::network {

using test::Reply;

inline api::Caller caller_of(const std::string& project, std::vector<std::string> roles) {
  api::Caller c;
  c.user_id = "user-" + project;
  c.project_id = project;
  c.role_names = std::move(roles);
  c.expires = Time::max();
  return c;
}

class FacadeTest : public ::testing::Test {
 protected:
  void start(Options options = {}) {
    options.physical_networks = {"public"};
    networks_ = make_networks(std::move(options), cloud_.database(), cloud_.clock());
    cloud_.sign_in("admin", caller_of("admin-project", {"admin", "member"}));
    cloud_.sign_in("demo", demo_);
    cloud_.mount(networks_->service());
  }

  std::string make(const std::string& collection, const std::string& name, json::object attributes,
                   const std::string& token = "demo") {
    const Reply r =
        cloud_.post("/network/v2.0/" + collection, json::object{{name, std::move(attributes)}}, token);
    EXPECT_EQ(r.status, 201) << r.body;
    return r.at(name + ".id");
  }

  void make_private() {
    net_ = make("networks", "network", {{"name", "private"}});
    subnet_ = make("subnets", "subnet",
                   {{"network_id", net_},
                    {"ip_version", 4},
                    {"cidr", "10.0.0.0/24"},
                    {"dns_nameservers", json::array{"10.0.0.53"}}});
  }

  std::string make_public_with_router() {
    const std::string ext = make("networks", "network",
                                 {{"name", "public"},
                                  {"router:external", true},
                                  {"provider:network_type", "flat"},
                                  {"provider:physical_network", "public"}},
                                 "admin");
    make("subnets", "subnet",
         {{"network_id", ext}, {"ip_version", 4}, {"cidr", "172.24.4.0/24"}, {"enable_dhcp", false}},
         "admin");
    const std::string router =
        make("routers", "router", {{"name", "router1"}, {"external_gateway_info", {{"network_id", ext}}}});
    EXPECT_EQ(cloud_
                  .put("/network/v2.0/routers/" + router + "/add_router_interface",
                       json::object{{"subnet_id", subnet_}}, "demo")
                  .status,
              200);
    ext_ = ext;
    return router;
  }

  std::vector<PortInfo> boot(const std::string& server, std::vector<NicRequest> nics,
                             std::vector<std::string> groups = {"default"}) {
    return cloud_.database().write([&](db::Tx& tx) {
      networks_->create_server_ports(tx, demo_, ServerId(server), "nova", "host1", nics, groups);
      return networks_->server_ports(tx, ServerId(server));
    });
  }
  Fault boot_fault(std::vector<NicRequest> nics, std::vector<std::string> groups = {"default"}) {
    try {
      boot("refused", std::move(nics), std::move(groups));
    } catch (const Fault& fault) {
      return fault;
    }
    ADD_FAILURE() << "it was let through";
    return {FaultKind::internal, ""};
  }
  std::vector<PortInfo> ports(const std::string& server) {
    return cloud_.database().read([&](db::Tx& tx) { return networks_->server_ports(tx, ServerId(server)); });
  }
  void release(const std::string& server) {
    cloud_.database().write([&](db::Tx& tx) { networks_->release_server_ports(tx, ServerId(server)); });
  }
  int64_t quota_used(const std::string& resource) {
    return cloud_.database().read([&](db::Tx& tx) {
      const auto row =
          tx.first("SELECT used FROM network_quota_usages WHERE project_id = 'demo-project' AND resource = ?",
                   resource);
      return row ? row->integer(0) : 0;
    });
  }
  int64_t port_quota_used() { return quota_used("port"); }

  test::TestCloud cloud_;
  api::Caller demo_ = caller_of("demo-project", {"member"});
  std::unique_ptr<Networks> networks_;
  std::string net_, subnet_, ext_;
};

}  // namespace virga::network
