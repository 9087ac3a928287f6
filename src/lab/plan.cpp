#include "lab/plan.h"

#include <fmt/format.h>

#include <sstream>

#include "base/config.h"
#include "base/fault.h"

namespace virga::lab {

std::string node_name(int number) {
  return fmt::format("node{}", number);
}
std::string node_namespace(int number) {
  return kNodePrefix + node_name(number);
}
std::string node_address(int number) {
  return fmt::format("172.31.0.{}", number);
}
std::string node_mac(int number) {
  return fmt::format("02:76:6c:61:62:{:02x}", number);
}
std::string wire_name(int at, int to) {
  return fmt::format("to{}-{}", to, at);
}
std::string bridge_name(int number) {
  return fmt::format("br{}", number);
}
std::string port_name(int number) {
  return node_name(number);
}

int node_number(const std::string& name, int hosts) {
  for (int n = 1; n <= hosts; ++n)
    if (name == node_name(n)) return n;
  throw Fault(FaultKind::not_found, fmt::format("The lab has no host {}.", name),
              hosts == 0   ? "`virga lab up` makes a lab."
              : hosts == 1 ? "It has node1 only."
                           : fmt::format("It has node1 to {}.", node_name(hosts)));
}

namespace {

/// A node does not see the world: the tiny guest's packages are shown to it.
Config any_settings() {
  Config c;
  c.cloud.package_cache = fmt::format("{}/packages", kOwnRun);
  return c;
}

}  // namespace

std::string machine_settings() {
  return commented_config(any_settings());
}

std::string controller_settings(bool userspace_datapath, const std::string& database_url) {
  Config c = any_settings();
  c.network.mode = "host";
  c.cloud.api_address = c.network.encap_ip = node_address(1);
  c.tls.enabled = true;
  c.demo.server = false;
  c.database.url = database_url;
  c.ha.nats_server = !database_url.empty();
  if (userspace_datapath) {
    c.network.datapath = "netdev";
    c.network.underlay_interface = kUnderlay;
  }
  return commented_config(c);
}

std::string hosts_file(int hosts) {
  std::string text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (int n = 1; n <= hosts; ++n) text += fmt::format("{}\t{}\n", node_address(n), node_name(n));
  return text;
}

std::vector<std::string> join_line(const std::string& said, const std::string& address) {
  std::istringstream lines(said);
  std::string line, last;
  while (std::getline(lines, line))
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  std::istringstream in(last);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  if (words.size() < 3 || words[0] != "virga" || words[1] != "join")
    throw Fault(FaultKind::internal,
                fmt::format("`virga token create` ends with \"{}\", which is no command to join.", last));
  words.insert(words.end(), {"--address", address});
  return words;
}

std::vector<std::string> join_command(const std::string& said, int number, bool userspace_datapath) {
  std::vector<std::string> words = join_line(said, node_address(number));
  if (userspace_datapath) words.insert(words.end(), {"--underlay-interface", kUnderlay});
  return words;
}

Cuts Cuts::parse(const std::string& text) {
  Cuts cuts;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream numbers(line);
    int a = 0, b = 0;
    if (numbers >> a >> b && a > 0 && b > 0 && a != b) cuts.pairs_.insert({std::min(a, b), std::max(a, b)});
  }
  return cuts;
}

std::string Cuts::text() const {
  std::string out;
  for (const auto& [a, b] : pairs_) out += fmt::format("{} {}\n", a, b);
  return out;
}

void Cuts::set(bool cut, int node, int other, int hosts) {
  if (node == other)
    throw Fault(FaultKind::bad_request,
                fmt::format("{} and {} are one host.", node_name(node), node_name(other)));
  for (int n = 1; n <= hosts; ++n) {
    if (n == node || (other != 0 && n != other)) continue;
    const Pair pair{std::min(node, n), std::max(node, n)};
    if (cut)
      pairs_.insert(pair);
    else
      pairs_.erase(pair);
  }
}

}  // namespace virga::lab
