#include "link/grpc.h"

#include <grpc/support/log.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <sstream>

#include "base/log.h"
#include "base/scope_exit.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;

TEST(LogGate, LetsAFewThroughAndCountsTheRest) {
  LogGate gate(2, 60s);
  const LogGate::Clock::time_point start{};
  EXPECT_EQ(gate.pass("a:1", start), 0u);
  EXPECT_EQ(gate.pass("a:1", start + 1s), 0u);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(gate.pass("a:1", start + 2s), std::nullopt);
  EXPECT_EQ(gate.pass("b:2", start + 2s), 0u);  // another kind of trouble is seen beside it
  EXPECT_EQ(gate.pass("a:1", start + 59s), std::nullopt);
  EXPECT_EQ(gate.pass("a:1", start + 60s), 1001u);
  EXPECT_EQ(gate.pass("a:1", start + 61s), 0u);
  EXPECT_EQ(gate.pass("a:1", start + 62s), std::nullopt);
}

TEST(GrpcLog, GoesIntoOurLogInBounds) {
  std::ostringstream lines;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines)));
  ScopeExit put_back([&] { spdlog::set_default_logger(before); });
  prepare_grpc();
  testing::internal::CaptureStderr();
  for (int i = 0; i < 1000; ++i) gpr_log(GPR_ERROR, "trouble %d", i);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  const std::string all = lines.str();
  EXPECT_NE(all.find("grpc_test.cpp"), std::string::npos) << all;
  EXPECT_NE(all.find("trouble 0"), std::string::npos) << all;
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 5) << all;
}

}  // namespace
}  // namespace virga::link
