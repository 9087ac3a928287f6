// The link over TCP: who has no certificate of the cloud's CA comes nowhere, and a certificate goes with what it says.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "base/certificate.h"
#include "base/log.h"
#include "base/scope_exit.h"
#include "tests/support/free_port.h"
#include "tests/support/link_fakes.h"

namespace virga::link {
namespace {

using namespace std::chrono_literals;

class LinkOverTls : public testing::Test {
 protected:
  LinkOverTls() {
    char name[] = "/tmp/virga-link.XXXXXX";
    dir_ = mkdtemp(name);
    const auto proof = make_server_certificate(ca_, {kControllerName, "127.0.0.1"}, now_);
    address_ = "127.0.0.1:" + std::to_string(test::free_port());
    hub_ = serve({dir_ + "/agent.sock", address_, {ca_.certificate, proof.certificate, proof.key}}, controller_);
  }
  ~LinkOverTls() override {
    connection_.reset();
    hub_.reset();
    std::filesystem::remove_all(dir_);
  }
  Credentials host_of(const PemPair& ca, const std::string& trusted) {
    const auto request = make_certificate_request("host1");
    return {trusted, sign_client_certificate(ca, request.request, "host1", "virga:host:" + kHost.str(), now_), request.key};
  }
  /// The hub counts a host as connected a moment after that has its assignment.
  bool connects() const {
    for (int i = 0; i < 1000 && !hub_->connected(kHost); ++i) usleep(10'000);
    return hub_->connected(kHost);
  }
  void dial_with(Credentials credentials) {
    connection_ = dial({{address_}, [credentials] { return credentials; }}, agent_);
  }

  const WallTime now_ = std::chrono::system_clock::now();
  const PemPair ca_ = make_ca("hosts", now_), other_ = make_ca("others", now_);
  std::string dir_, address_;
  FakeController controller_;
  FakeAgent agent_;
  std::unique_ptr<AgentHub> hub_;
  std::unique_ptr<AgentConnection> connection_;
};

TEST_F(LinkOverTls, AHostWithItsCertificateIsLetIn) {
  dial_with(host_of(ca_, ca_.certificate));
  ASSERT_TRUE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }));
  EXPECT_TRUE(connects());
  ASSERT_EQ(controller_.certificates.size(), 1u);
  const auto came = read_certificates(controller_.certificates.front(), "it").front();
  EXPECT_EQ(uris_of(came), std::vector<std::string>{"virga:host:" + kHost.str()});
  // Side calls go with the same certificate.
  std::string image;
  connection_->fetch_image(ImageId("i"), 0, [&](uint64_t, std::string_view piece) { image += piece; });
  EXPECT_EQ(image, controller_.image);
  EXPECT_EQ(connection_->renew("request"), kHost.str() + " request");
  EXPECT_EQ(connection_->problem(), "");
}

TEST_F(LinkOverTls, ACertificateOfAnotherCaComesNowhere) {
  dial_with(host_of(other_, ca_.certificate));
  EXPECT_FALSE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }, 1s));
  EXPECT_TRUE(controller_.certificates.empty());
  EXPECT_NE(connection_->problem(), "");
}

TEST_F(LinkOverTls, AControllerOfAnotherCaIsNotTrusted) {
  dial_with(host_of(ca_, other_.certificate));
  EXPECT_FALSE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }, 1s));
  EXPECT_TRUE(controller_.certificates.empty());
}

TEST_F(LinkOverTls, NobodyComesInPlain) {
  connection_ = dial({{address_}}, agent_);
  EXPECT_FALSE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }, 1s));
  EXPECT_TRUE(controller_.certificates.empty());
}

TEST_F(LinkOverTls, WhoIsNotAdmittedTakesNobodysPlace) {
  FakeAgent local;
  const auto first = dial({{"unix:" + dir_ + "/agent.sock"}}, local);
  ASSERT_TRUE(local.watched.wait([&] { return !local.assignments.empty(); }));
  ASSERT_TRUE(connects());
  controller_.watched.change([&] { controller_.refuse_admission = kHost; });
  dial_with(host_of(ca_, ca_.certificate));
  ASSERT_TRUE(controller_.watched.wait([&] { return controller_.certificates.size() >= 2; }));
  EXPECT_FALSE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }, 500ms));
  EXPECT_TRUE(hub_->connected(kHost));
  EXPECT_EQ(controller_.disconnects, 0);
}

TEST_F(LinkOverTls, TheNextControllerIsTriedWhenOneIsAway) {
  const std::string nobody = "127.0.0.1:" + std::to_string(test::free_port());
  const Credentials credentials = host_of(ca_, ca_.certificate);
  connection_ = dial({{nobody, address_}, [credentials] { return credentials; }}, agent_);
  EXPECT_TRUE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }));
}

TEST_F(LinkOverTls, AHostThatWasSentAwayIsGone) {
  dial_with(host_of(ca_, ca_.certificate));
  ASSERT_TRUE(agent_.watched.wait([&] { return !agent_.assignments.empty(); }));
  ASSERT_TRUE(connects());
  controller_.watched.change([&] { controller_.refuse_admission = kHost; });
  hub_->disconnect(kHost, "removed");
  EXPECT_TRUE(controller_.watched.wait([&] { return controller_.disconnects == 1; }));
  EXPECT_FALSE(hub_->connected(kHost));
}

/// Connects, says something that is no handshake, and waits until the other end has had enough.
void knock(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  ScopeExit close_it([&] { close(fd); });
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(write(fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
  char byte;
  while (read(fd, &byte, 1) > 0) {
  }
}

TEST_F(LinkOverTls, AStrangerFillsNoLog) {
  std::ostringstream lines;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines)));
  ScopeExit put_back([&] { spdlog::set_default_logger(before); });
  testing::internal::CaptureStderr();
  for (int i = 0; i < 50; ++i) knock(std::stoi(address_.substr(address_.find(':') + 1)));
  hub_.reset();  // whatever it has to say, it has said
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  const std::string all = lines.str();  // tests before this one may have used up what is let through
  EXPECT_LE(std::count(all.begin(), all.end(), '\n'), 10) << all;
}

}  // namespace
}  // namespace virga::link
