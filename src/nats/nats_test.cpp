#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>

#include "base/certificate.h"
#include "base/fault.h"
#include "base/process.h"
#include "nats/api.h"
#include "nats/protocol.h"
#include "nats/url.h"
#include "tests/support/free_port.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace virga::nats {
namespace {

using namespace std::chrono_literals;

std::vector<std::string> read_all(std::string_view bytes, size_t piece) {
  Parser parser;
  std::vector<std::string> seen;
  for (size_t at = 0; at < bytes.size(); at += piece)
    parser.feed(bytes.substr(at, piece), [&](const ServerMessage& m) {
      seen.push_back(fmt::format("{}:{}:{}", static_cast<int>(m.kind), m.subject, m.body));
    });
  return seen;
}

TEST(Protocol, IsReadInAnyPieces) {
  const std::string_view bytes = "INFO {\"a\":1}\r\nPING\r\nMSG a.b 1 5\r\nhe\r\no\r\nmsg a 1 reply 0\r\n\r\n+OK\r\n-ERR 'no'\r\nPONG\r\n";
  const std::vector<std::string> wanted{"0::{\"a\":1}", "2::", "1:a.b:he\r\no", "1:a:", "4::", "5::'no'", "3::"};
  for (size_t piece = 1; piece <= bytes.size(); ++piece) EXPECT_EQ(read_all(bytes, piece), wanted) << piece;
}

TEST(Protocol, RefusesWhatNoServerSays) {
  for (const std::string& bytes : {std::string("HELLO\r\n"), std::string("MSG a 1\r\n"), std::string("MSG a 1 x\r\n"), std::string("MSG a 1 2\r\nabcd"),
                                   std::string("MSG a 1 99999999\r\n"), std::string("MSG a 1 -1\r\n"), std::string("PINGX\r\n"), std::string(40'000, 'a')})
    EXPECT_THROW(read_all(bytes, 7), Fault) << bytes.substr(0, 20);
}

TEST(NatsUrl, BothForms) {
  const Url tls = parse_url("tls://192.0.2.1:4333");
  EXPECT_TRUE(tls.tls);
  EXPECT_EQ(tls.host, "192.0.2.1");
  EXPECT_EQ(tls.port, 4333);
  const Url plain = parse_url("nats://u%40:p%3Aw@bus");
  EXPECT_EQ(plain.user, "u@");
  EXPECT_EQ(plain.password, "p:w");
  EXPECT_EQ(plain.port, 4222);
  for (const char* bad : {"http://x", "nats://", "nats://x:0", "nats://x:y", "tls://x:70000", "nats://a/b"}) EXPECT_THROW(parse_url(bad), Fault) << bad;
}

/// What one client heard.
struct Ear {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> heard;
  void hear(std::string_view text) {
    const std::lock_guard lock(mutex);
    heard.emplace_back(text);
    changed.notify_all();
  }
  bool wait_for(const std::string& text) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 10s, [&] { return std::find(heard.begin(), heard.end(), text) != heard.end(); });
  }
};

/// The package's server, in a folder of its own, with TLS and a password.
class Server : public testing::Test {
 protected:
  void SetUp() override {
    if (access("/usr/sbin/nats-server", X_OK) != 0) GTEST_SKIP() << "nats-server is not installed";
    std::string pattern = (std::filesystem::temp_directory_path() / "virga-nats-XXXXXX").string();
    ASSERT_TRUE(mkdtemp(pattern.data()));
    dir_ = pattern;
    port_ = test::free_port();
    const auto now = std::chrono::system_clock::now();
    const PemPair ca = make_ca("test", now), mine = make_server_certificate(ca, {"controller.virga"}, now);
    write_file(dir_ + "/ca.pem", ca.certificate, 0600);
    write_file(dir_ + "/server.pem", mine.certificate + mine.key, 0600);
    write_file(dir_ + "/nats.conf",
               fmt::format("listen: \"127.0.0.1:{0}\"\nauthorization {{ user: virga, password: \"secret\" }}\ntls {{ cert_file: \"{1}/server.pem\", key_file: "
                           "\"{1}/server.pem\", ca_file: \"{1}/ca.pem\", verify: true }}\n", port_, dir_), 0600);
    start();
  }
  void TearDown() override {
    stop();
    std::error_code ignored;
    if (!dir_.empty()) std::filesystem::remove_all(dir_, ignored);
  }
  void start() { pid_ = spawn({{"/usr/sbin/nats-server", "-c", dir_ + "/nats.conf"}}, dir_ + "/log"); }
  void stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  Options options(Ear& ear) const {
    Options o;
    o.url = fmt::format("tls://127.0.0.1:{}", port_);
    o.subject = "virga.wake";
    o.ca_file = dir_ + "/ca.pem";
    o.certificate_file = dir_ + "/server.pem";
    o.server_name = "controller.virga";
    o.user = "virga", o.password = "secret";
    o.on_message = [&ear](std::string_view text) { ear.hear(text); };
    return o;
  }
  static bool until(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); ++i) poll_pause();
    return condition();
  }
  static void poll_pause() { std::this_thread::sleep_for(10ms); }

  std::string dir_;
  int port_ = 0;
  pid_t pid_ = -1;
};

TEST_F(Server, OneSaysAndTheOtherHearsAlsoAfterTheServerWasKilled) {
  Ear a_hears, b_hears;
  const auto a = connect(options(a_hears)), b = connect(options(b_hears));
  const auto both = [&] { return a->connected() && b->connected(); };
  ASSERT_TRUE(until(both));
  a->publish("one");
  EXPECT_TRUE(b_hears.wait_for("one"));
  stop();
  ASSERT_TRUE(until([&] { return !a->connected() && !b->connected(); }));
  a->publish("lost");
  start();
  ASSERT_TRUE(until(both));
  b->publish("two");
  EXPECT_TRUE(a_hears.wait_for("two"));
  EXPECT_EQ(b_hears.heard, std::vector<std::string>{"one"});  // nothing of its own, nothing of what was lost
}

TEST_F(Server, WhoShowsNoProofIsNotHeardAndAWrongServerIsNotTrusted) {
  Ear ear;
  auto wrong_password = options(ear), no_certificate = options(ear), other_name = options(ear), other_ca = options(ear);
  wrong_password.password = "guess";
  no_certificate.certificate_file.clear();
  other_name.server_name = "elsewhere";
  write_file(dir_ + "/other.pem", make_ca("other", std::chrono::system_clock::now()).certificate, 0600);
  other_ca.ca_file = dir_ + "/other.pem";
  const auto right = connect(options(ear));
  std::vector<std::unique_ptr<Client>> wrong;
  for (auto* o : {&wrong_password, &no_certificate, &other_name, &other_ca}) wrong.push_back(connect(*o));
  ASSERT_TRUE(until([&] { return right->connected(); }));
  std::this_thread::sleep_for(500ms);  // in which the others have tried several times
  for (const auto& client : wrong) EXPECT_FALSE(client->connected());
}

}  // namespace
}  // namespace virga::nats
