// Compute hosts: let in, heard or not heard, given their own images only, taken out.

#include <gtest/gtest.h>

#include "tests/support/compute_fixture.h"

namespace virga::compute {
namespace {

using test::ComputeCloud;
using test::Fields;
using test::host_facts;

const Fields kIds{{"OpenStack-API-Version", "compute 2.53"}};

std::string state_of(ComputeCloud& cloud, const std::string& host) {
  return cloud.get("/compute/v2.1/os-services?binary=nova-compute&host=" + host, "admin").at("services.0.state");
}

TEST(Hosts, AreUpAsLongAsTheyAreHeard) {
  ComputeCloud cloud;
  cloud.add_host("cafe1");
  EXPECT_EQ(state_of(cloud, "cafe1"), "up");
  cloud.clock().advance(std::chrono::seconds(15));
  EXPECT_EQ(state_of(cloud, "cafe1"), "up");
  cloud.compute->heartbeat(host_facts("cafe1").id, {});
  cloud.clock().advance(std::chrono::seconds(15));
  EXPECT_EQ(state_of(cloud, "cafe1"), "up");
  cloud.clock().advance(std::chrono::seconds(2));  // connected still, and silent
  EXPECT_EQ(state_of(cloud, "cafe1"), "down");
}

TEST(Hosts, ASilentOneIsNotKnownToBeDown) {
  ComputeCloud cloud;
  cloud.add_host("cafe1");
  const std::string id = cloud.boot("vm").at("server.id");
  const auto status = [&] { return cloud.show(id, "admin", {{"OpenStack-API-Version", "compute 2.16"}}).at("server.host_status"); };
  EXPECT_EQ(status(), "UP");
  cloud.clock().advance(std::chrono::minutes(1));
  EXPECT_EQ(status(), "UNKNOWN");
  const std::string service = cloud.get("/compute/v2.1/os-services?binary=nova-compute", "admin", kIds).at("services.0.id");
  const auto set = [&](const json::object& change) { return cloud.put("/compute/v2.1/os-services/" + service, change, "admin", kIds).status; };
  EXPECT_EQ(set({{"status", "disabled"}}), 200);
  EXPECT_EQ(status(), "MAINTENANCE");
  EXPECT_EQ(set({{"forced_down", true}}), 200);
  EXPECT_EQ(status(), "DOWN");
}

TEST(Hosts, ADoorkeeperIsAskedBeforeAnythingIsChanged) {
  Options options;
  std::vector<std::string> asked;
  options.admit = [&](db::Tx&, const link::HostFacts& facts, const std::string& certificate) -> bool {
    asked.push_back(facts.hostname + " " + certificate);
    throw Fault(FaultKind::forbidden, "no");
  };
  ComputeCloud cloud("", std::move(options));
  EXPECT_THROW(cloud.compute->admit(host_facts("cafe1"), "pem"), Fault);
  EXPECT_EQ(asked, std::vector<std::string>{"cafe1 pem"});
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services?binary=nova-compute", "admin").count("services"), 0u);
}

TEST(Hosts, LetInWithoutACommitUnlessTheirCertificateIsNew) {
  Options options;
  bool is_new = false;
  std::vector<std::string> settled;
  options.admit = [&](db::Tx&, const link::HostFacts&, const std::string&) { return is_new; };
  options.settle_certificate = [&](db::Tx&, const link::HostFacts& facts, const std::string& certificate) {
    settled.push_back(facts.hostname + " " + certificate);
  };
  ComputeCloud cloud("", std::move(options));
  const auto commits = [&] { return cloud.database().stats().commits; };
  const auto before = commits();
  cloud.compute->admit(host_facts("cafe1"), "pem");
  EXPECT_EQ(commits(), before);
  EXPECT_TRUE(settled.empty());
  is_new = true;
  cloud.compute->admit(host_facts("cafe1"), "new");
  EXPECT_EQ(commits(), before + 1);
  EXPECT_EQ(settled, std::vector<std::string>{"cafe1 new"});
}

TEST(Hosts, HaveTheTraitsThatTheirAgentsReport) {
  ComputeCloud cloud;
  auto facts = host_facts("cafe1");
  const auto traits = [&] { return cloud.get("/placement/resource_providers/" + facts.id.str() + "/traits", "admin", {{"OpenStack-API-Version", "placement 1.39"}}).body; };
  facts.traits = {"HW_CPU_X86_AVX2"};
  cloud.compute->connect(facts);
  EXPECT_NE(traits().find("HW_CPU_X86_AVX2"), std::string::npos) << traits();
  facts.traits.clear();
  facts.link_minor = link::kTraitsMinor - 1;
  cloud.compute->connect(facts);
  EXPECT_NE(traits().find("HW_CPU_X86_AVX2"), std::string::npos) << "an older agent says nothing of them";
  facts.link_minor = link::kTraitsMinor;
  cloud.compute->connect(facts);
  EXPECT_EQ(traits().find("HW_CPU_X86_AVX2"), std::string::npos);
}

TEST(Hosts, GetTheImagesOfTheirOwnServersOnly) {
  ComputeCloud cloud;
  cloud.add_host("cafe1");
  EXPECT_EQ(cloud.boot("vm").status, 202);
  cloud.add_host("cafe2");
  const auto refused = [&](const char* host, const std::string& image) {
    try {
      cloud.compute->open_image(host_facts(host).id, ImageId(image), 0);
      return false;
    } catch (const Fault& fault) {
      return fault.kind == FaultKind::forbidden;
    }
  };
  EXPECT_FALSE(refused("cafe1", cloud.image_id));
  EXPECT_TRUE(refused("cafe2", cloud.image_id));
  EXPECT_TRUE(refused("cafe1", "33333333-3333-4333-8333-333333333333"));
  EXPECT_TRUE(refused("cafe1", "%"));
}

TEST(Hosts, AreRemovedOnceTheyHaveNoServers) {
  Options options;
  std::vector<std::string> forgotten;
  options.forget_host = [&](db::Tx&, const HostId& host) { forgotten.push_back(host.str()); };
  ComputeCloud cloud("", std::move(options));
  cloud.add_host("cafe1");
  const std::string server = cloud.boot("vm").at("server.id");
  const std::string service = cloud.get("/compute/v2.1/os-services?binary=nova-compute", "admin", kIds).at("services.0.id");
  const auto remove = [&](const std::string& id, const std::string& who = "admin", const Fields& version = kIds) {
    return cloud.call("DELETE", "/compute/v2.1/os-services/" + id, "", who, version);
  };
  EXPECT_EQ(remove(service, "demo").status, 403);
  EXPECT_EQ(remove("nonsense").status, 400);
  EXPECT_EQ(remove("33333333-3333-4333-8333-333333333333").status, 404);
  const auto full = remove(service);
  EXPECT_EQ(full.status, 409);
  EXPECT_NE(full.body.find("hosting instances"), std::string::npos);
  EXPECT_TRUE(forgotten.empty());
  cloud.hub->asleep = true;  // its domain is still to be removed
  EXPECT_EQ(cloud.del("/compute/v2.1/servers/" + server, "demo").status, 204);
  EXPECT_EQ(remove(service).status, 409);
  cloud.hub->asleep = false;
  cloud.hub->push(host_facts("cafe1").id, cloud.compute->connect(host_facts("cafe1")));
  EXPECT_EQ(remove(service).status, 204);
  EXPECT_EQ(forgotten, std::vector<std::string>{host_facts("cafe1").id.str()});
  EXPECT_EQ(cloud.hub->sent_away, std::vector<HostId>{host_facts("cafe1").id});
  EXPECT_EQ(cloud.get("/compute/v2.1/os-services?binary=nova-compute", "admin").count("services"), 0u);
  EXPECT_EQ(cloud.get("/placement/resource_providers", "admin").count("resource_providers"), 0u);
  cloud.add_host("cafe1");
  EXPECT_EQ(state_of(cloud, "cafe1"), "up");
}

}  // namespace
}  // namespace virga::compute
