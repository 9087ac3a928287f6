#include "http/tls.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/certificate.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "http/test_handler.h"
#include "http/wire.h"

namespace virga::http {
namespace {

using test::TestHandler;

const WallTime kNow = std::chrono::system_clock::now();

/// One CA for all tests: a key costs time.
const PemPair& ca() {
  static const PemPair pair = make_ca("test CA", kNow);
  return pair;
}

PemPair server_pair(const std::vector<std::string>& names = {"127.0.0.1", "localhost"}) {
  return make_server_certificate(ca(), names, kNow);
}

class ScratchDir {
 public:
  ScratchDir() {
    char path[] = "/tmp/virga-test-XXXXXX";
    if (!::mkdtemp(path)) throw std::runtime_error("mkdtemp failed");
    path_ = path;
  }
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// A connection of our own, for what `fetch` would not do.
struct RawTls {
  RawTls(uint16_t port, const std::string& ca_file, const std::string& host = "127.0.0.1") {
    fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("no connection");
    tls = TlsStream::connect(client_context(ca_file).get(), fd, host);
    shake_hands(*tls, fd, "server", std::chrono::seconds(10));
  }
  ~RawTls() { ::close(fd); }
  wire::Channel channel() { return {fd, tls.get()}; }
  void send(std::string_view bytes) {
    EXPECT_TRUE(wire::send_all(channel(), bytes, std::chrono::seconds(10)));
  }
  /// Until the text is there, or the end.
  std::string until(const std::string& text) {
    char buffer[4096];
    while (all.find(text) == std::string::npos) {
      const ssize_t got = wire::receive(channel(), buffer, std::chrono::seconds(10));
      if (got <= 0) break;
      all.append(buffer, static_cast<size_t>(got));
    }
    return all;
  }
  int fd;
  std::unique_ptr<TlsStream> tls;
  std::string all;
};

struct TlsTest : testing::Test {
  TestHandler handler;
  ScratchDir dir;
  const std::string ca_file = dir.path() + "/ca.pem";
  std::shared_ptr<ServerTls> tls;
  std::unique_ptr<Server> server;
  uint16_t port = 0;

  void SetUp() override {
    write_file(ca_file, ca().certificate);
    const PemPair pair = server_pair();
    tls = std::make_shared<ServerTls>(pair.certificate, pair.key);
    ServerOptions options;
    options.header_timeout = options.body_timeout = std::chrono::seconds(1);
    options.tls = tls;
    server = make_server(options, handler);
    const int fd = listen_tcp("127.0.0.1", 0);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    port = ntohs(address.sin_port);
    server->listen(fd);
    server->start();
  }
  std::string url(const std::string& path, const std::string& scheme = "https",
                  const std::string& host = "127.0.0.1") const {
    return scheme + "://" + host + ":" + std::to_string(port) + path;
  }
  Response get(const std::string& path) const { return fetch({.url = url(path), .ca_file = ca_file}); }
  /// What a client that trusts the CA is told when it may not connect.
  std::string refusal_of(const ClientRequest& request) const {
    try {
      fetch(request);
    } catch (const Fault& fault) {
      EXPECT_EQ(fault.kind, FaultKind::unavailable);
      return fault.message;
    }
    return "it connected";
  }
};

TEST_F(TlsTest, AnswersAndKnowsThatItIsTls) {
  const Response r =
      fetch({.method = "POST", .url = url("/a"), .body = std::string(200'000, 'y'), .ca_file = ca_file});
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body.size(), 200'000u + 8);
  EXPECT_EQ(get("/tls").body, "tls");
  EXPECT_EQ(fetch({.url = url("/a", "https", "localhost"), .ca_file = ca_file}).status, 200);
}

TEST_F(TlsTest, StreamsBothWays) {
  size_t left = 30'000'000;
  ClientRequest up{.method = "PUT", .url = url("/up"), .ca_file = ca_file};
  up.source = [&](std::span<char> into) {
    const size_t count = std::min(left, into.size());
    std::fill_n(into.begin(), count, 'z');
    left -= count;
    return count;
  };
  EXPECT_EQ(fetch(up).body, "30000000");
  size_t down = 0;
  ClientRequest request{.url = url("/down"), .ca_file = ca_file};
  request.sink = [&](std::string_view bytes) { down += bytes.size(); };
  EXPECT_EQ(fetch(request).status, 200);
  EXPECT_EQ(down, size_t{64} << 20);
}

TEST_F(TlsTest, KeepsConnectionsAndPipelines) {
  RawTls raw(port, ca_file);
  std::string many;
  for (int i = 0; i < 500; ++i) many += "GET /n" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  raw.send(many);
  const std::string all = raw.until("GET /n499 ");
  size_t at = 0;
  for (int i = 0; i < 500; ++i) {
    const size_t next = all.find("GET /n" + std::to_string(i) + " ", at);
    ASSERT_NE(next, std::string::npos) << i;
    at = next;
  }
}

TEST_F(TlsTest, ABigAnswerWaitsForASlowReader) {
  RawTls raw(port, ca_file);
  raw.send("POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n" +
           std::string(1'000'000, 'b'));
  // Its buffers fill while nothing is read: the answer must go on by itself afterwards.
  ASSERT_TRUE(wire::wait_for(raw.fd, POLLIN, std::chrono::seconds(10)));
  EXPECT_EQ(raw.until("never").find("POST /big bbbb") != std::string::npos, true);
  EXPECT_GT(raw.all.size(), 1'000'000u);
}

TEST_F(TlsTest, PlainHttpIsToldToSpeakHttps) {
  const Response r = fetch({.url = url("/a", "http")});
  EXPECT_EQ(r.status, 400);
  EXPECT_NE(r.body.find("https://"), std::string::npos) << r.body;
  EXPECT_EQ(get("/a").status, 200);
}

TEST_F(TlsTest, AHandshakeMustBeThereInTime) {
  for (const std::string& begun :
       {std::string(), std::string("\x16\x03\x01\x02", 4), std::string("\x00\xffgarbage", 9)}) {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    ScopeExit closing([fd] { ::close(fd); });
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    if (!begun.empty()) {
      ASSERT_EQ(::send(fd, begun.data(), begun.size(), MSG_NOSIGNAL), static_cast<ssize_t>(begun.size()));
    }
    std::string all;
    char buffer[256];
    ssize_t got;
    while ((got = wire::receive({fd}, buffer, std::chrono::seconds(8))) > 0)
      all.append(buffer, static_cast<size_t>(got));
    EXPECT_TRUE(got == 0 || errno == ECONNRESET) << "not cut off";
  }
  EXPECT_EQ(get("/a").status, 200);
}

TEST_F(TlsTest, ASlowHeaderIsCutOffAsWithoutTls) {
  RawTls raw(port, ca_file);
  raw.send("GET /a HTTP/1.1\r\nHost");
  EXPECT_NE(raw.until("in time").find(" 408 "), std::string::npos);
}

TEST_F(TlsTest, NewConnectionsSeeANewCertificateAndOldOnesGoOn) {
  RawTls old(port, ca_file);
  const PemPair other = make_ca("another CA", kNow);
  const PemPair fresh = make_server_certificate(other, {"127.0.0.1"}, kNow);
  tls->replace(fresh.certificate, fresh.key);
  EXPECT_NE(refusal_of({.url = url("/a"), .ca_file = ca_file}).find("not accepted"), std::string::npos);
  const std::string other_file = dir.path() + "/other.pem";
  write_file(other_file, other.certificate);
  EXPECT_EQ(fetch({.url = url("/a"), .ca_file = other_file}).status, 200);
  old.send("GET /still HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(old.until("GET /still").find("GET /still"), std::string::npos);
}

TEST_F(TlsTest, WhatCannotBeServedIsRefusedAndNothingChanges) {
  const PemPair one = server_pair(), two = server_pair();
  EXPECT_THROW(tls->replace(one.certificate, two.key), Fault);
  EXPECT_THROW(tls->replace("", one.key), Fault);
  EXPECT_THROW(tls->replace(one.certificate, "nonsense"), Fault);
  EXPECT_EQ(get("/a").status, 200);
}

TEST_F(TlsTest, AClientSaysWhyItDoesNotTrust) {
  const std::string other = dir.path() + "/other.pem";
  write_file(other, make_ca("another CA", kNow).certificate);
  EXPECT_NE(refusal_of({.url = url("/a"), .ca_file = other}).find("certificate is not accepted"),
            std::string::npos);
  EXPECT_NE(refusal_of({.url = url("/a")}).find("certificate is not accepted"), std::string::npos)
      << "the system does not trust it";
  const PemPair elsewhere = server_pair({"elsewhere.example"});
  tls->replace(elsewhere.certificate, elsewhere.key);
  EXPECT_NE(refusal_of({.url = url("/a"), .ca_file = ca_file}).find("IP address mismatch"),
            std::string::npos);
  EXPECT_NE(
      refusal_of({.url = url("/a", "https", "localhost"), .ca_file = ca_file}).find("hostname mismatch"),
      std::string::npos);
  const PemPair ended = make_server_certificate(ca(), {"127.0.0.1"}, kNow - std::chrono::hours(24 * 400));
  EXPECT_THROW(tls->replace(ended.certificate, ended.key), Fault);
  EXPECT_THROW(fetch({.url = url("/a"), .ca_file = dir.path() + "/none"}), Fault);
}

TEST_F(TlsTest, AClientOfPlainHttpSaysSo) {
  auto plain = make_server({}, handler);
  const int fd = listen_tcp("127.0.0.1", 0);
  sockaddr_in address{};
  socklen_t length = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  plain->listen(fd);
  plain->start();
  try {
    fetch({.url = "https://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/", .ca_file = ca_file});
    FAIL() << "it connected";
  } catch (const Fault& fault) {
    EXPECT_NE(fault.hint.find("http"), std::string::npos) << fault.message;
  }
}

TEST_F(TlsTest, WebSocketEchoes) {
  auto ws = connect_websocket(url("/ws", "wss"), {}, "binary", ca_file);
  ws->send("hello", true);
  EXPECT_EQ(ws->receive(std::chrono::seconds(10)), "hello");
  const std::string big(3'000'000, 'w');
  ws->send(big, true);
  EXPECT_EQ(ws->receive(std::chrono::seconds(20)), big);
  for (int i = 0; i < 200; ++i) ws->send(std::to_string(i), true);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(ws->receive(std::chrono::seconds(10)), std::to_string(i));
  EXPECT_THROW(connect_websocket(url("/ws", "wss"), {}, "binary"), Fault);
  EXPECT_THROW(connect_websocket(url("/a", "wss"), {}, "binary", ca_file), Fault);
}

TEST_F(TlsTest, ManyAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&, i] {
      for (int k = 0; k < 20; ++k) {
        const std::string path = "/c" + std::to_string(i * 100 + k);
        if (get(path).body == "GET " + path + " ") ++right;
      }
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(right, 160);
}

}  // namespace
}  // namespace virga::http
