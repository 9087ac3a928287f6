#include <gtest/gtest.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <stdexcept>
#include <thread>

#include "http/api.h"
#include "http/test_handler.h"

namespace virga::http {
namespace {

using test::TestHandler;

struct HttpTest : testing::Test {
  TestHandler handler;
  std::unique_ptr<Server> server;
  uint16_t port = 0;
  void SetUp() override {
    ServerOptions options;
    options.header_timeout = options.body_timeout = std::chrono::seconds(1);
    server = make_server(options, handler);
    int fd = listen_tcp("127.0.0.1", 0);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    port = ntohs(address.sin_port);
    server->listen(fd);
    server->start();
  }
  std::string url(const std::string& path) { return "http://127.0.0.1:" + std::to_string(port) + path; }
  int raw(const std::string& bytes) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
    return fd;
  }
  /// Sends, and reads until the server closes.
  std::string talk(const std::string& bytes) {
    int fd = raw(bytes);
    std::string all;
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, static_cast<size_t>(n));
    close(fd);
    return all;
  }
};

TEST_F(HttpTest, AnswersAndFaults) {
  Response r = fetch({.method = "POST", .url = url("/a%20b?x=1"), .body = std::string(200'000, 'y')});
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body.size(), 200'000u + 10);
  EXPECT_EQ(r.headers.get("server"), "virga");
  EXPECT_EQ(fetch({.url = url("/fault")}).status, 409);
  EXPECT_EQ(fetch({.url = url("/lost")}).status, 500);
  r = fetch({.method = "HEAD", .url = url("/h")});
  EXPECT_EQ(r.headers.get("Content-Length"), "8");
  EXPECT_EQ(r.body, "");
}

TEST_F(HttpTest, PipelinedInOrder) {
  std::string in;
  for (int i = 0; i < 50; ++i) in += "GET /p" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\n\r\n";
  std::string out = talk(in + "PUT /up HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /last HTTP/1.1\r\nConnection: close\r\n\r\n");
  size_t at = 0;
  for (int i = 0; i < 50; ++i) {
    at = out.find("GET /p" + std::to_string(i) + " ", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_NE(out.find("GET /last", at), std::string::npos);
}

TEST_F(HttpTest, Limits) {
  EXPECT_EQ(talk("GET nonsense\r\n\r\n").substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(talk("GET /%zz HTTP/1.1\r\n\r\n").substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(talk("GET / HTTP/1.1\r\nA: " + std::string(70'000, 'a') + "\r\n\r\n").substr(0, 12), "HTTP/1.1 431");
  EXPECT_EQ(talk("PUT / HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n").substr(0, 12), "HTTP/1.1 413");
  EXPECT_EQ(talk("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(talk("PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n").substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(talk("PUT /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n").substr(0, 12), "HTTP/1.1 400");
  EXPECT_EQ(talk("GET / HTTP/1.1\r\nA: slow").substr(0, 12), "HTTP/1.1 408");
}

TEST_F(HttpTest, ExpectContinue) {
  for (std::string path : {"/b", "/up"}) {
    int fd = raw("PUT " + path + " HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\n");
    char buffer[4096];
    ssize_t n = recv(fd, buffer, sizeof buffer, 0);
    EXPECT_EQ(std::string(buffer, static_cast<size_t>(n)), "HTTP/1.1 100 Continue\r\n\r\n");
    send(fd, "abc", 3, 0);
    n = recv(fd, buffer, sizeof buffer, 0);
    EXPECT_EQ(std::string(buffer, 12), "HTTP/1.1 200");
    close(fd);
  }
}

TEST_F(HttpTest, StreamsLargeBodies) {
  uint64_t left = uint64_t{256} << 20;
  ClientRequest up{.method = "PUT", .url = url("/up")};
  up.source = [&](std::span<char> into) {
    size_t count = std::min<uint64_t>(left, into.size());
    left -= count;
    return count;
  };
  EXPECT_EQ(fetch(up).body, std::to_string(uint64_t{256} << 20));
  uint64_t got = 0;
  ClientRequest down{.url = url("/down")};
  down.sink = [&](std::string_view piece) { got += piece.size(); };
  EXPECT_EQ(fetch(down).status, 200);
  EXPECT_EQ(got, uint64_t{64} << 20);
}

/// The answer's body to a request with keep-alive, whole.
std::string one_answer(int fd) {
  std::string in;
  char buffer[4096];
  for (ssize_t n; (n = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
    in.append(buffer, static_cast<size_t>(n));
    const size_t head = in.find("\r\n\r\n"), length = in.find("Content-Length: ");
    if (head != std::string::npos && length < head && in.size() >= head + 4 + std::stoul(in.substr(length + 16)))
      return in.substr(head + 4);
  }
  return "closed: " + in;
}

/// The client has its answer before the turn is over, so the upload's first bytes come in at the turn's very end.
TEST_F(HttpTest, StreamsRightAfterAnAnswerOnTheSameConnection) {
  const std::string piece(8'000, 'x');
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i)
    clients.emplace_back([&] {
      const int fd = raw(""), on = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      for (int turn = 0; turn < 1000; ++turn) {
        send(fd, "GET /x HTTP/1.1\r\n\r\n", 19, MSG_NOSIGNAL);
        ASSERT_EQ(one_answer(fd), "GET /x ");
        const std::string head = "PUT /up HTTP/1.1\r\nContent-Length: 80000\r\n\r\n";
        send(fd, head.data(), head.size(), MSG_NOSIGNAL);
        for (int k = 0; k < 10; ++k) send(fd, piece.data(), piece.size(), MSG_NOSIGNAL);
        ASSERT_EQ(one_answer(fd), "80000") << turn;
      }
      close(fd);
    });
  for (auto& client : clients) client.join();
}

TEST_F(HttpTest, StreamsBodiesThatEndWhereTheReadersBufferDoes) {
  for (size_t size : {100'000, 200'000, 1'000'000}) {
    const std::string body(size, 'x');
    const int plain = raw("PUT /up HTTP/1.1\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + body);
    EXPECT_EQ(one_answer(plain), std::to_string(size));
    close(plain);
    const int chunked = raw("PUT /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt::format("{:x}\r\n", size) + body +
                            "\r\n0\r\n\r\n");
    EXPECT_EQ(one_answer(chunked), std::to_string(size));
    close(chunked);
  }
}

TEST_F(HttpTest, StreamsLongerThanAnyTimeout) {
  const int fd = raw("PUT /up HTTP/1.1\r\nContent-Length: 30000\r\n\r\n");
  const std::string piece(3'000, 'x');
  for (int i = 0; i < 10; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    send(fd, piece.data(), piece.size(), MSG_NOSIGNAL);
  }
  EXPECT_EQ(one_answer(fd), "30000");
  close(fd);
}

TEST_F(HttpTest, LongPollsHoldNoWorker) {
  std::vector<int> fds;
  for (int i = 0; i < 500; ++i) fds.push_back(raw("GET /wait HTTP/1.1\r\n\r\n"));
  auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(fetch({.url = url("/x")}).status, 200);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(500));
  for (;;) {
    std::lock_guard lock(handler.mutex);
    if (handler.kept.size() == 500) break;
  }
  for (int i = 0; i < 250; ++i) close(fds[static_cast<size_t>(i)]);  // half of them leave
  for (auto& responder : handler.kept) responder->send(Response{.body = "late"});
  char buffer[512];
  for (size_t i = 250; i < 500; ++i) {
    EXPECT_GT(recv(fds[i], buffer, sizeof buffer, 0), 0);
    close(fds[i]);
  }
}

TEST_F(HttpTest, FailedBodyModeIsOneRequestsTrouble) {
  EXPECT_EQ(fetch({.method = "PUT", .url = url("/broken"), .body = "x"}).status, 500);
  EXPECT_EQ(fetch({.url = url("/x")}).status, 200);
}

TEST_F(HttpTest, IdleAndSlowClientsDisturbNobody) {
  std::vector<int> fds;
  char buffer[512];
  for (int i = 0; i < 2000; ++i) {
    fds.push_back(raw(i % 4 ? "GET /idle HTTP/1.1\r\n\r\n" : "GET /slow HTTP/1.1\r\nA: "));
    if (i % 4) ASSERT_GT(recv(fds.back(), buffer, sizeof buffer, 0), 0);
  }
  // The slow ones drip for ever; they are cut off all the same, and nobody waits for them.
  const auto start = std::chrono::steady_clock::now();
  auto slowest = std::chrono::steady_clock::duration::zero();
  int served = 0;
  while (std::chrono::steady_clock::now() - start < std::chrono::milliseconds(2000)) {
    for (size_t i = 0; i < fds.size(); i += 80) send(fds[i], "a", 1, MSG_NOSIGNAL);
    const auto before = std::chrono::steady_clock::now();
    ASSERT_EQ(fetch({.url = url("/x")}).status, 200);
    slowest = std::max(slowest, std::chrono::steady_clock::now() - before);
    ++served;
  }
  // Whoever waited for them would wait for hundreds of cut-offs, one after the other. (How fast it is, the bench says.)
  EXPECT_GT(served, 10);
  EXPECT_LT(slowest, std::chrono::milliseconds(2000));
  for (size_t i = 0; i < fds.size(); ++i) {
    if (i % 4 == 0) {
      ASSERT_GT(recv(fds[i], buffer, sizeof buffer, 0), 12) << i;
      EXPECT_EQ(std::string(buffer, 12), "HTTP/1.1 408");
    } else {
      EXPECT_LT(recv(fds[i], buffer, sizeof buffer, MSG_DONTWAIT), 0) << "still open";
    }
    close(fds[i]);
  }
}

TEST_F(HttpTest, StopLetsRunningRequestsFinish) {
  const int idle = raw("GET /idle HTTP/1.1\r\n\r\n");
  char buffer[4096];
  ASSERT_GT(recv(idle, buffer, sizeof buffer, 0), 0);
  const int running = raw("GET /block HTTP/1.1\r\n\r\nGET /never HTTP/1.1\r\n\r\n");
  {
    std::unique_lock lock(handler.mutex);
    handler.changed.wait(lock, [&] { return handler.entered; });
  }
  std::thread stopping([&] { server->stop(std::chrono::seconds(20)); });
  EXPECT_EQ(recv(idle, buffer, sizeof buffer, 0), 0);  // idle connections go at once
  EXPECT_THROW(fetch({.url = url("/new")}), Fault);
  {
    std::lock_guard lock(handler.mutex);
    handler.released = true;
  }
  handler.changed.notify_all();
  std::string answer;
  for (ssize_t n; (n = recv(running, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<size_t>(n));
  stopping.join();
  EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 200");
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(answer.find("/never"), std::string::npos);
  close(idle);
  close(running);
}

TEST_F(HttpTest, StopsUnderLoad) {
  std::atomic<int> whole{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([this, i, &whole] {
      static const char* const paths[] = {"/x", "/down", "/lost", "/fault"};
      for (;;) try {
          ClientRequest request{.url = url(paths[i % 4])};
          request.sink = [](std::string_view) {};
          fetch(request);
          ++whole;
        } catch (const Fault&) {
          return;  // it has stopped
        }
    });
  while (whole < 200) std::this_thread::yield();
  server->stop(std::chrono::milliseconds(50));
  for (auto& client : clients) client.join();
}

TEST_F(HttpTest, AnswersAfterTheServerIsGoneAreSafe) {
  const int fd = raw("GET /wait HTTP/1.1\r\n\r\n");
  for (;;) {
    std::lock_guard lock(handler.mutex);
    if (!handler.kept.empty()) break;
  }
  const auto start = std::chrono::steady_clock::now();
  server->stop(std::chrono::milliseconds(100));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(2));
  server.reset();
  EXPECT_TRUE(handler.kept.front()->gone());
  handler.kept.front()->send({});
  handler.kept.clear();
  close(fd);
}

TEST_F(HttpTest, WebSocketEcho) {
  auto ws = connect_websocket("ws://127.0.0.1:" + std::to_string(port) + "/ws", {});
  for (int i = 0; i < 20; ++i) ws->send(std::string(100'000, static_cast<char>('a' + i)), true);
  for (int i = 0; i < 20; ++i) {
    auto message = ws->receive(std::chrono::seconds(5));
    ASSERT_TRUE(message);
    EXPECT_EQ(*message, std::string(100'000, static_cast<char>('a' + i)));
  }
}

TEST_F(HttpTest, UnixSocket) {
  std::string path = "/tmp/virga-http-test-" + std::to_string(getpid());
  server->listen(listen_unix(path));
  EXPECT_EQ(fetch({.url = "http://localhost/u", .unix_socket = path}).body, "GET /u ");
  unlink(path.c_str());
}

TEST(Targets, Decoding) {
  Request r;
  parse_target("/a%2Fb+c?x=1+2&y&x=%41&=z", r);
  EXPECT_EQ(r.path, "/a/b+c");
  EXPECT_EQ(r.query_value("x"), "1 2");
  EXPECT_EQ(r.query.size(), 4u);
  EXPECT_THROW(percent_decode("%"), Fault);
  EXPECT_THROW(percent_decode("%4"), Fault);
  EXPECT_THROW(percent_decode("%g1"), Fault);
  EXPECT_EQ(percent_decode(percent_encode("ä b/%")), "ä b/%");
}

}  // namespace
}  // namespace virga::http
