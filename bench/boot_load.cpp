// Boots servers over keep-alive connections from many threads, cheaply, since it shares the cores with what it measures.
//   boot_load PORT TOKEN BODY CLIENTS COUNT POLL_MS [FIRST_MS]
// Each client posts BODY to /compute/v2.1/servers and, if POLL_MS is not 0, asks for the server FIRST_MS after it began
// to post (without it, POLL_MS after the answer) and then every POLL_MS ms until it is ACTIVE, before it posts the next. What was ACTIVE earlier than a
// client asked counts as seen, late: waiting first spares the cores questions whose answer is known. Prints one line of JSON: seconds, and milliseconds of accept and boot.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point from) {
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

class Connection {
 public:
  Connection(int port, std::string token) : token_(std::move(token)), fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int one = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) throw std::runtime_error("cannot connect");
  }
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// The answer's head and body.
  std::string ask(const std::string& method, const std::string& path, const std::string& body = {}) {
    const std::string request = method + " " + path + " HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + token_ +
                                "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
                                "\r\n\r\n" + body;
    if (send(fd_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
      throw std::runtime_error("cannot send");
    return receive();
  }

 private:
  std::string receive() {
    std::string all;
    size_t wanted = std::string::npos;
    char buffer[16384];
    while (all.size() < wanted) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) throw std::runtime_error("the connection broke");
      all.append(buffer, static_cast<size_t>(n));
      const size_t head = all.find("\r\n\r\n");
      if (wanted != std::string::npos || head == std::string::npos) continue;
      const size_t length = all.find("Content-Length: ");
      wanted = head + 4 + (length < head ? std::stoul(all.substr(length + 16)) : 0);
    }
    return all;
  }

  const std::string token_;
  const int fd_;
};

struct Times {
  std::vector<double> accepted, active;
};

void boot(Connection& c, const std::string& body, int poll_ms, int first_ms, Times& times) {
  const auto from = Clock::now();
  const std::string made = c.ask("POST", "/compute/v2.1/servers", body);
  if (made.compare(9, 3, "202") != 0) throw std::runtime_error(made);
  times.accepted.push_back(ms_since(from));
  if (poll_ms == 0) return;
  const std::string path = "/compute/v2.1/servers/" + made.substr(made.find("\"id\":\"") + 6, 36);
  const auto first = first_ms > 0 ? from + std::chrono::milliseconds(first_ms) : Clock::now() + std::chrono::milliseconds(poll_ms);
  for (auto ask_at = first;; ask_at = Clock::now() + std::chrono::milliseconds(poll_ms)) {
    std::this_thread::sleep_until(ask_at);
    const std::string seen = c.ask("GET", path);
    if (seen.find("\"status\":\"ACTIVE\"") != std::string::npos) break;
    if (seen.find("\"status\":\"BUILD\"") == std::string::npos) throw std::runtime_error(seen);
  }
  times.active.push_back(ms_since(from));
}

void print(const char* name, std::vector<double> v) {
  std::sort(v.begin(), v.end());
  const auto at = [&](double q) { return v.empty() ? 0.0 : v[static_cast<size_t>(q * static_cast<double>(v.size() - 1))]; };
  std::printf(", \"%s_p50\": %.2f, \"%s_p99\": %.2f", name, at(0.5), name, at(0.99));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) return std::fprintf(stderr, "boot_load PORT TOKEN BODY CLIENTS COUNT POLL_MS [FIRST_MS]\n"), 2;
  const int clients = std::atoi(argv[4]), count = std::atoi(argv[5]), poll_ms = std::atoi(argv[6]);
  const int first_ms = argc == 8 ? std::atoi(argv[7]) : 0;
  std::vector<Times> times(static_cast<size_t>(clients));
  std::atomic<int> left{count};
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  const auto from = Clock::now();
  for (auto& mine : times)
    threads.emplace_back([&] {
      try {
        Connection c(std::atoi(argv[1]), argv[2]);
        while (left-- > 0 && !failed) boot(c, argv[3], poll_ms, first_ms, mine);
      } catch (const std::exception& e) {
        if (!failed.exchange(true)) std::fprintf(stderr, "%s\n", e.what());
      }
    });
  for (auto& t : threads) t.join();
  Times all;
  for (const auto& t : times) {
    all.accepted.insert(all.accepted.end(), t.accepted.begin(), t.accepted.end());
    all.active.insert(all.active.end(), t.active.begin(), t.active.end());
  }
  std::printf("{\"seconds\": %.3f", ms_since(from) / 1000);
  print("accepted", all.accepted);
  print("active", all.active);
  std::printf("}\n");
  return failed ? 1 : 0;
}
