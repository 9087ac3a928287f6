#include "base/config.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga {
namespace {

std::string refusal(std::string_view toml) {
  try {
    parse_config(toml, "virga.toml");
  } catch (const Fault& f) {
    return f.message;
  }
  return "accepted";
}

TEST(Config, EmptyFileGivesTheDefaults) {
  const Config c = parse_config("", "x");
  EXPECT_EQ(c.cloud.api_port, 5000);
  EXPECT_EQ(c.compute.cpu_allocation_ratio, 16.0);
  EXPECT_EQ(c.database_url(), "sqlite:///var/lib/virga/control/virga.db");
  EXPECT_EQ(c.data_namespace(), "virga");
}

TEST(Config, ReadsEveryType) {
  const Config c = parse_config(
      "[cloud]\nalias_ports = [8774, 9696]\n[network]\nmode = 'host'\ndns_servers = ['9.9.9.9']\n"
      "[compute]\nram_allocation_ratio = 2\n[demo]\nenabled = false\n", "x");
  EXPECT_EQ(c.cloud.alias_ports, (std::vector<int>{8774, 9696}));
  EXPECT_EQ(c.network.dns_servers, std::vector<std::string>{"9.9.9.9"});
  EXPECT_EQ(c.compute.ram_allocation_ratio, 2.0);
  EXPECT_FALSE(c.demo.enabled);
  EXPECT_EQ(c.data_namespace(), "");
}

TEST(Config, NamesFileLineAndNearestKey) {
  EXPECT_EQ(refusal("[cloud]\n\napi_prt = 1\n"), "virga.toml:3: unknown key api_prt in [cloud]. Did you mean api_port?");
  EXPECT_EQ(refusal("[cluod]\n"), "virga.toml:1: unknown section cluod. Did you mean [cloud]?");
  EXPECT_EQ(refusal("[cloud]\nmtu = 1400\n"), "virga.toml:2: unknown key mtu in [cloud]. mtu belongs into [network].");
  EXPECT_EQ(refusal("[cloud]\nregion = \"a\"\napi_port = \"5000\"\n"), "virga.toml:3: cloud.api_port must be a whole number.");
  EXPECT_EQ(refusal("[network]\nmode = \"trail\"\n"), "virga.toml:2: network.mode must be one of: trial, host.");
  EXPECT_EQ(refusal("[cloud]\napi_port = 70000\n"), "virga.toml:2: cloud.api_port must be between 1 and 65535.");
  EXPECT_EQ(refusal("[network]\nprivate_cidr = \"10.0.0.1/24\"\n"), "virga.toml:2: network.private_cidr has bits set behind its prefix.");
  EXPECT_EQ(refusal("[cloud\n").substr(0, 13), "virga.toml:1:");
  EXPECT_EQ(refusal("cloud = 1\n"), "virga.toml:1: cloud must be a section: [cloud].");
}

TEST(Config, ChecksKeysAgainstEachOther) {
  EXPECT_NE(refusal("[network]\nexternal_gateway = \"10.9.9.1\"\n").find("lies outside"), std::string::npos);
  EXPECT_NE(refusal("[network]\nprivate_cidr = \"172.24.0.0/16\"\n").find("overlap"), std::string::npos);
  EXPECT_NE(refusal("[network]\nphysical_network = \"x\"\n").find("bridge_mappings"), std::string::npos);
}

TEST(Config, WhatConcernsOtherMachines) {
  EXPECT_NE(refusal("[hosts]\naddress = \"192.0.2.1\"\n").find("A trial is one machine"), std::string::npos);
  EXPECT_NE(refusal("[cloud]\nrole = \"compute\"\n[network]\nmode = \"host\"\n").find("hosts.controllers"), std::string::npos);
  EXPECT_NE(refusal("[cloud]\napi_address = \"192.0.2.1\"\n[network]\nmode = \"host\"\nencap_ip = \"192.0.2.1\"\n[hosts]\ncontrollers = [\"192.0.2.2:5001\"]\n").find("only the first"), std::string::npos);
  EXPECT_NE(refusal("[hosts]\ncontrollers = [\"192.0.2.1\"]\n").find("ADDRESS:PORT"), std::string::npos);
  EXPECT_NE(refusal("[ha]\nrestart = \"auto\"\n").find("ha.fence_command"), std::string::npos);
  Config c;
  EXPECT_EQ(c.hosts_address(), "");
  c.network.mode = "host";
  EXPECT_EQ(c.hosts_address(), "");  // 127.0.0.1
  c.cloud.api_address = "192.0.2.1";
  EXPECT_EQ(c.hosts_address(), "192.0.2.1");
  c.hosts.address = "192.0.2.2";
  EXPECT_EQ(c.hosts_address(), "192.0.2.2");
  c.cloud.role = "compute";
  EXPECT_EQ(c.hosts_address(), "");
  const Config host = parse_config("[cloud]\nrole = \"compute\"\n[network]\nmode = \"host\"\nbridge_mappings = []\n"
                                   "[hosts]\ncontrollers = [\"192.0.2.1:5001\", \"192.0.2.2:5001\"]\n", "virga.toml");
  EXPECT_TRUE(host.has_compute() && !host.has_control());
}

TEST(Config, TheCommentedFileIsAcceptedAndKeepsChanges) {
  Config c;
  c.cloud.api_port = 5055;
  c.identity.admin_password = "a\"b\\c";
  c.network.bridge_mappings = {"public:br-ex", "dc:br-dc"};
  const Config again = parse_config(commented_config(c), "x");
  EXPECT_EQ(again.cloud.api_port, 5055);
  EXPECT_EQ(again.identity.admin_password, "a\"b\\c");
  EXPECT_EQ(again.network.bridge_mappings, c.network.bridge_mappings);
  // With every line in force it must be accepted too: the defaults themselves are valid.
  std::string all = commented_default();
  for (size_t at = 0; (at = all.find("\n#", at)) != std::string::npos; ++at)
    if (all[at + 2] != ' ') all.erase(at + 1, 1);
  EXPECT_NO_THROW(parse_config(all, "x"));
}

TEST(Config, SetsOneKeyFromText) {
  Config c;
  set_config_text(c, "network.bridge_mappings", "public:br-ex, dc:br-dc");
  set_config_text(c, "compute.cpu_allocation_ratio", "8.5");
  set_config_text(c, "cloud.region", "Here");
  set_config_text(c, "cloud.alias_ports", "8774,9696");
  EXPECT_EQ(config_text(c, "network.bridge_mappings"), "public:br-ex,dc:br-dc");
  EXPECT_EQ(config_text(c, "compute.cpu_allocation_ratio"), "8.5");
  EXPECT_EQ(config_text(c, "cloud.alias_ports"), "8774,9696");
  EXPECT_THROW(set_config_text(c, "cloud.api_port", "x"), Fault);
  EXPECT_THROW(set_config_text(c, "cloud.nothing", "x"), Fault);
}

TEST(Config, RangesOverlap) {
  EXPECT_TRUE(ranges_overlap("10.0.0.0/8", "10.1.0.0/16"));
  EXPECT_FALSE(ranges_overlap("10.0.0.0/24", "10.0.1.0/24"));
  EXPECT_TRUE(ranges_overlap("0.0.0.0/0", "10.0.1.0/24"));
}

}  // namespace
}  // namespace virga
