#include "cloud/answer_file.h"

#include <gtest/gtest.h>

#include "base/fault.h"

namespace virga::cloud {
namespace {

TEST(AnswerFile, MapsPackstacksKeys) {
  const AnswerResult r = apply_answer_file(
      "[general]\n# comment\nCONFIG_KEYSTONE_ADMIN_PW=secret\nCONFIG_PROVISION_DEMO=n\n"
      "CONFIG_PROVISION_DEMO_FLOATRANGE=172.24.8.0/22\nCONFIG_NEUTRON_OVN_BRIDGE_MAPPINGS=extnet:br-ex\n"
      "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=8.0\nCONFIG_AMQP_HOST=10.0.0.1\nCONFIG_HEAT_INSTALL=y\nCONFIG_WHAT=1\n",
      "a.txt", Config{});
  EXPECT_EQ(r.config.identity.admin_password, "secret");
  EXPECT_FALSE(r.config.demo.enabled);
  EXPECT_EQ(r.config.network.external_gateway, "172.24.8.1");
  EXPECT_EQ(r.config.network.external_pool_end, "172.24.11.254");
  EXPECT_EQ(r.config.network.physical_network, "extnet");
  EXPECT_EQ(r.config.compute.cpu_allocation_ratio, 8.0);
  EXPECT_EQ(r.applied.size(), 5u);
  ASSERT_EQ(r.not_applied.size(), 3u);
  EXPECT_EQ(r.not_applied[0].second, "there is no message broker");
  EXPECT_EQ(r.not_applied[2].second, "Virga does not know this key");
}

TEST(AnswerFile, AnExistingMariaDb) {
  const AnswerResult r = apply_answer_file(
      "CONFIG_MARIADB_INSTALL=n\nCONFIG_MARIADB_HOST=db1\nCONFIG_MARIADB_USER=u\nCONFIG_MARIADB_PW=p\n", "a", Config{});
  EXPECT_EQ(r.config.database.url, "mariadb://u:p@db1:3306/virga");
  const AnswerResult odd = apply_answer_file(
      "CONFIG_MARIADB_INSTALL=n\nCONFIG_MARIADB_HOST=db1\nCONFIG_MARIADB_PW=p@ss/%\n", "a", Config{});
  EXPECT_EQ(odd.config.database.url, "mariadb://root:p%40ss%2F%25@db1:3306/virga");
}

TEST(AnswerFile, AnInterfaceMeansHostMode) {
  const AnswerResult r = apply_answer_file("CONFIG_NEUTRON_OVN_BRIDGE_IFACES=br-ex:eth1\n", "a", Config{});
  EXPECT_EQ(r.config.network.external_interface, "eth1");
  EXPECT_EQ(r.config.network.mode, "host");
}

TEST(AnswerFile, SaysWhereItIsWrong) {
  try {
    apply_answer_file("\nCONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=many\n", "a.txt", Config{});
    FAIL();
  } catch (const Fault& f) {
    EXPECT_EQ(f.message.substr(0, 8), "a.txt:2:") << f.message;
  }
  EXPECT_THROW(apply_answer_file("nonsense\n", "a", Config{}), Fault);
}

TEST(AnswerFile, WhatIsGeneratedIsReadBackUnchanged) {
  Config c;
  c.identity.admin_password = "pw";
  c.cloud.region = "Here";
  const AnswerResult r = apply_answer_file(generate_answer_file(c), "a", Config{});
  EXPECT_EQ(r.config.identity.admin_password, "pw");
  EXPECT_EQ(r.config.cloud.region, "Here");
  EXPECT_EQ(r.config.network.external_cidr, c.network.external_cidr);
  EXPECT_EQ(r.config.database.url, "");
}

}  // namespace
}  // namespace virga::cloud
