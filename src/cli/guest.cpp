// Reaching guests from the host, although their network lies in a namespace of its own.

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <thread>

#include "base/config.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cli/api.h"
#include "cli/cloud_client.h"
#include "cloud/engines.h"
#include "cloud/serve.h"

namespace virga::cli {
namespace {

/// Copies both ways until either side ends. Blocking.
void pump(int in_a, int out_a, int b) {
  pollfd fds[2] = {{in_a, POLLIN, 0}, {b, POLLIN, 0}};
  char buffer[65536];
  while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
    for (int i = 0; i < 2; ++i) {
      if (!fds[i].revents) continue;
      const ssize_t n = read(fds[i].fd, buffer, sizeof buffer);
      if (n <= 0) return;
      const int to = i == 0 ? b : out_a;
      for (ssize_t done = 0; done < n;) {
        const ssize_t w = write(to, buffer + done, static_cast<size_t>(n - done));
        if (w <= 0) return;
        done += w;
      }
    }
  }
}

[[noreturn]] void exec(std::vector<std::string> argv) {
  std::vector<char*> raw;
  for (auto& a : argv) raw.push_back(a.data());
  raw.push_back(nullptr);
  execvp(raw[0], raw.data());
  throw Fault(FaultKind::not_found, fmt::format("The program {} is missing.", argv[0]));
}

void ssh(const Shared& shared, const std::string& server, const std::string& user, const std::string& key, const std::vector<std::string>& rest) {
  const Config config = shared.load();
  cloud::RestClient client = cloud_client(config);
  const std::string address = server_address(client, server_id(client, server));
  std::string proxy = own_program();
  if (!shared.config_path.empty()) proxy += " --config " + shared.config_path;
  proxy += " tunnel %h %p";
  std::vector<std::string> argv{"ssh", "-o", "ProxyCommand=" + proxy, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"};
  const std::string demo_key = cloud::Paths(config).secrets + "/demo_key";
  const std::string identity = !key.empty() ? key : access(demo_key.c_str(), R_OK) == 0 ? demo_key : "";
  if (!identity.empty()) argv.insert(argv.end(), {"-i", identity});
  argv.push_back(user + "@" + address);
  argv.insert(argv.end(), rest.begin(), rest.end());
  exec(std::move(argv));
}

void forward(const Config& config, const std::string& server, int guest_port, int local_port) {
  cloud::RestClient client = cloud_client(config);
  const std::string address = server_address(client, server_id(client, server));
  const int listener = http::listen_tcp("127.0.0.1", static_cast<uint16_t>(local_port));
  sockaddr_in bound{};
  socklen_t size = sizeof bound;
  getsockname(listener, reinterpret_cast<sockaddr*>(&bound), &size);
  std::printf("127.0.0.1:%d reaches %s:%d; Ctrl-C ends it.\n", ntohs(bound.sin_port), address.c_str(), guest_port);
  std::fflush(stdout);
  std::signal(SIGPIPE, SIG_IGN);
  for (;;) {
    const int peer = accept(listener, nullptr, nullptr);
    if (peer < 0) continue;
    std::thread([peer, address, guest_port, ns = config.data_namespace()] {
      try {
        const int guest = netns::connect_tcp(ns, address, static_cast<uint16_t>(guest_port));
        pump(peer, peer, guest);
        close(guest);
      } catch (const Fault& fault) {
        std::fprintf(stderr, "virga: %s\n", fault.message.c_str());
      }
      close(peer);
    }).detach();
  }
}

/// The terminal in raw mode while this lives.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(0, &before_) != 0) return;
    termios raw = before_;
    cfmakeraw(&raw);
    active_ = tcsetattr(0, TCSANOW, &raw) == 0;
  }
  ~RawTerminal() {
    if (active_) tcsetattr(0, TCSANOW, &before_);
  }

 private:
  termios before_{};
  bool active_ = false;
};

void console(const Config& config, const std::string& server) {
  cloud::RestClient client = cloud_client(config);
  client.compute_version = "2.6";
  const json::value made = client.post(fmt::format("/compute/v2.1/servers/{}/remote-consoles", server_id(client, server)),
                                       {{"remote_console", {{"protocol", "serial"}, {"type", "serial"}}}});
  const std::string url = str(made.at("remote_console").at("url"));
  http::Headers headers;
  headers.set("Origin", client.base_url());
  auto socket = http::connect_websocket(url, headers, "binary", client.ca_file());
  std::printf("Connected to %s's serial console; Ctrl-] leaves.\r\n", server.c_str());
  std::fflush(stdout);
  RawTerminal raw;
  std::atomic<bool> leave{false};
  std::thread keys([&] {
    char buffer[1024];
    while (!leave) {
      pollfd in{0, POLLIN, 0};
      if (poll(&in, 1, 200) <= 0) continue;
      const ssize_t n = read(0, buffer, sizeof buffer);
      if (n <= 0 || memchr(buffer, 0x1d, static_cast<size_t>(n))) break;
      socket->send({buffer, static_cast<size_t>(n)}, true);
    }
    leave = true;
  });
  const ScopeExit join([&] {
    leave = true;
    keys.join();
  });
  while (!leave && !socket->closed())
    if (const auto bytes = socket->receive(std::chrono::milliseconds(200))) {
      fwrite(bytes->data(), 1, bytes->size(), stdout);
      std::fflush(stdout);
    }
}

}  // namespace

void add_guest_commands(CLI::App& app, Shared& shared) {
  struct Words {
    std::string server, user = "virga", key, address;
    int port = 0, local_port = 0;
  };
  auto words = std::make_shared<Words>();
  auto* ssh_command = app.add_subcommand("ssh", "log in to a server over its floating IP");
  ssh_command->add_option("server", words->server, "name or id")->required();
  ssh_command->add_option("--user,-l", words->user, "user in the guest (default virga)");
  ssh_command->add_option("--identity,-i", words->key, "private key (default the demo server's)");
  ssh_command->prefix_command()->fallthrough(false);  // what follows is the guest's, not the program's
  ssh_command->callback([&shared, words, ssh_command] { ssh(shared, words->server, words->user, words->key, ssh_command->remaining()); });

  auto* forward_command = app.add_subcommand("forward", "reach a port of a server at a port of this host's loopback");
  forward_command->add_option("server", words->server, "name or id")->required();
  forward_command->add_option("port", words->port, "port in the guest")->required()->check(CLI::Range(1, 65535));
  forward_command->add_option("--local-port", words->local_port, "port on 127.0.0.1 (default: a free one)");
  forward_command->callback([&shared, words] { forward(shared.load(), words->server, words->port, words->local_port); });

  auto* console_command = app.add_subcommand("console", "a server's serial console");
  console_command->add_option("server", words->server, "name or id")->required();
  console_command->callback([&shared, words] { console(shared.load(), words->server); });

  auto* virsh = app.add_subcommand("virsh", "virsh on this cloud's libvirt");
  virsh->prefix_command()->fallthrough(false);
  virsh->callback([&shared, virsh] {
    if (!shared.load().has_compute()) throw Fault(FaultKind::conflict, "This machine is a controller without guests: it has no libvirt.", "`virga host list` names the hosts.");
    std::vector<std::string> argv{"virsh", "-c", "qemu+unix:///system?socket=" + cloud::find_engines(shared.load(), {}).libvirt_socket};
    const auto rest = virsh->remaining();
    argv.insert(argv.end(), rest.begin(), rest.end());
    exec(std::move(argv));
  });

  auto* tunnel = app.add_subcommand("tunnel", "connect standard input and output to an address in the data plane (ssh's ProxyCommand)")->group("");
  tunnel->add_option("address", words->address)->required();
  tunnel->add_option("port", words->port)->required();
  tunnel->callback([&shared, words] {
    const int fd = netns::connect_tcp(shared.load().data_namespace(), words->address, static_cast<uint16_t>(words->port));
    pump(0, 1, fd);
  });
}

}  // namespace virga::cli
