// Many hosts in one process, for bench/agents: each is enrolled through the API, has a certificate of its own, and holds a
// connection of its own over the real agent link, with the client that the agent has. What they are told to run, they
// report as running at once, with the steps of a boot.
//   swarm API_URL ADMIN_TOKEN COUNT [FIRST]
// Hosts are named swarm-FIRST and so on. Reads commands from standard input, one a line, and answers each with a line of JSON:
//   status    {"enrolled_s": …, "hosts": N, "connected": N, "welcomes": N, "assigned": N}
//   cut       every TCP connection ends at once; answers when all hosts have their work again: {"cut": N, "seconds": …}
// At its end all connections end.

#include <arpa/inet.h>
#include <fmt/core.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <iostream>
#include <set>
#include <thread>

#include "base/certificate.h"
#include "base/fault.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "http/api.h"
#include "link/api.h"

namespace {

using namespace virga;
using SteadyClock = std::chrono::steady_clock;

double seconds_since(SteadyClock::time_point from) {
  return std::chrono::duration<double>(SteadyClock::now() - from).count();
}

class Host final : public link::AgentSide {
 public:
  Host(link::HostFacts facts, link::Credentials credentials, std::string controller)
      : facts_(std::move(facts)), credentials_(std::move(credentials)), controller_(std::move(controller)) {}

  void dial() {
    const std::lock_guard lock(mutex_);
    connection_ = link::dial({{controller_}, [this] { return credentials_; }}, *this);
  }
  bool connected() const {
    const std::lock_guard lock(mutex_);
    return connection_ && connection_->connected();
  }
  int port() const { return std::atoi(controller_.substr(controller_.rfind(':') + 1).c_str()); }
  int welcomes() const { return welcomes_; }
  int assigned_servers() const { return servers_; }

  link::HostFacts facts() override { return facts_; }
  void assigned(const link::Assignment& assignment) override {
    std::vector<link::ObservedServer> seen;
    for (const auto& server : assignment.servers) seen.push_back(obey(server, assignment.full));
    servers_ += static_cast<int>(assignment.servers.size());
    if (assignment.full) ++welcomes_;
    const std::lock_guard lock(mutex_);  // dial() holds it until there is a connection to answer on
    if (connection_) connection_->report(assignment.full, std::move(seen), {});
  }
  std::string console_log(const ServerId&, size_t) override { return ""; }
  Disk open_disk(const ServerId&, int64_t) override {
    throw virga::Fault(virga::FaultKind::not_found, "a simulated host has no disks");
  }
  std::shared_ptr<link::ByteStream> open_console(const ServerId&, link::AgentHub::Console) override {
    throw Fault(FaultKind::conflict, "a simulated host has no consoles");
  }

 private:
  static link::ObservedServer obey(const link::DesiredServer& server, bool known) {
    using State = link::DesiredServer::State;
    link::ObservedServer seen;
    seen.id = server.id;
    seen.generation = server.generation;
    seen.power = server.state == State::running   ? link::Power::running
                 : server.state == State::stopped ? link::Power::shutoff
                                                  : link::Power::absent;
    if (server.state != State::running || known) return seen;
    const auto now = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    for (const char* step : {"image", "disk", "define", "start"})
      seen.steps.push_back({step, true, "", now.count(), 1000});
    return seen;
  }

  const link::HostFacts facts_;
  const link::Credentials credentials_;
  const std::string controller_;
  mutable std::mutex mutex_;
  std::atomic<int> welcomes_{0}, servers_{0};
  std::unique_ptr<link::AgentConnection> connection_;
};

json::value post(const std::string& url, const std::string& token, const json::object& body) {
  http::ClientRequest request;
  request.method = "POST";
  request.url = url;
  request.headers.set("Content-Type", "application/json");
  if (!token.empty()) request.headers.set("X-Auth-Token", token);
  request.body = json::serialize(body);
  const auto response = http::fetch(request);
  if (response.status != 201) throw Fault(FaultKind::internal, fmt::format("{}: {}", url, response.body));
  return parse_json(response.body);
}

/// As `virga join` does.
std::unique_ptr<Host> enrol(const std::string& api, const std::string& token, int number) {
  const std::string name = fmt::format("swarm-{:05}", number);
  const auto made = post(api + "/enrolment/v1/tokens", token, {{"token", json::object()}});
  const auto request = make_certificate_request(name);
  const auto answer =
      post(api + "/enrolment/v1/hosts", "",
           {{"host", json::object{{"token", made.at("token").at("secret")},
                                  {"hostname", name},
                                  {"address", fmt::format("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)},
                                  {"certificate_request", request.request}}}});
  link::HostFacts facts;
  facts.id = HostId(std::string(answer.at("host").at("id").as_string()));
  facts.hostname = name;
  facts.chassis = name;
  facts.hypervisor = "fake";
  facts.virt_type = "qemu";
  facts.cpu_arch = "x86_64";
  facts.vcpus = 32;
  facts.memory = MiB{262144};
  facts.disk = GiB{2000};
  const auto& controllers = answer.at("controllers").as_array();
  const auto text = [&](const char* key) { return std::string(answer.at(key).as_string()); };
  return std::make_unique<Host>(facts, link::Credentials{text("ca"), text("certificate"), request.key},
                                std::string(controllers.at(static_cast<size_t>(number) % controllers.size()).as_string()));
}

/// Ends the TCP connections of this process to these ports, as a cut cable would, but at once. How many there were.
int shut_connections_to(const std::set<int>& ports) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::atoi(entry.path().filename().c_str());
    sockaddr_in6 to{};  // gRPC's sockets are of IPv6 for either kind of address; the port has one place in both
    socklen_t size = sizeof to;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&to), &size) != 0 || (to.sin6_family != AF_INET && to.sin6_family != AF_INET6)) continue;
    if (ports.contains(ntohs(to.sin6_port)) && shutdown(fd, SHUT_RDWR) == 0) ++count;
  }
  return count;
}

class Swarm {
 public:
  Swarm(const std::string& api, const std::string& token, int count, int first) : hosts_(static_cast<size_t>(count)) {
    const auto from = SteadyClock::now();
    in_parallel([&](size_t i) { hosts_[i] = enrol(api, token, first + static_cast<int>(i)); });
    enrolled_s_ = seconds_since(from);
    for (const auto& host : hosts_) host->dial();
  }

  std::string status() const {
    return fmt::format(R"({{"enrolled_s": {:.2f}, "hosts": {}, "connected": {}, "welcomes": {}, "assigned": {}}})", enrolled_s_,
                       hosts_.size(), connected(), sum(&Host::welcomes), sum(&Host::assigned_servers));
  }

  std::string cut() {
    const int before = sum(&Host::welcomes), all = static_cast<int>(hosts_.size());
    const auto from = SteadyClock::now();
    std::set<int> ports;
    for (const auto& host : hosts_) ports.insert(host->port());
    const int cut = shut_connections_to(ports);
    while (sum(&Host::welcomes) < before + all && seconds_since(from) < 120)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return fmt::format(R"({{"cut": {}, "seconds": {:.3f}, "connected": {}}})", cut, seconds_since(from), connected());
  }

 private:
  template <class F>
  void in_parallel(F&& each) {
    constexpr size_t kThreads = 8;
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&] {
        for (size_t i = next++; i < hosts_.size(); i = next++) each(i);
      });
    for (auto& thread : threads) thread.join();
  }
  int connected() const {
    return static_cast<int>(std::count_if(hosts_.begin(), hosts_.end(), [](const auto& host) { return host->connected(); }));
  }
  int sum(int (Host::*count)() const) const {
    int all = 0;
    for (const auto& host : hosts_) all += (host.get()->*count)();
    return all;
  }

  std::vector<std::unique_ptr<Host>> hosts_;
  double enrolled_s_ = 0;
};

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4 && argc != 5) return fmt::print(stderr, "swarm API_URL ADMIN_TOKEN COUNT [FIRST]\n"), 2;
  virga::log::open("swarm", "", "critical");  // a thousand hosts that say that they lost their controller
  Swarm swarm(argv[1], argv[2], std::atoi(argv[3]), argc == 5 ? std::atoi(argv[4]) : 0);
  for (std::string command; std::getline(std::cin, command);) {
    fmt::print("{}\n", command == "cut" ? swarm.cut() : swarm.status());
    std::fflush(stdout);
  }
} catch (const std::exception& e) {
  fmt::print(stderr, "{}\n", e.what());
  return 1;
}
