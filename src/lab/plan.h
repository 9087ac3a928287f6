#pragma once
// What a lab looks like (lab/api.h), as pure functions: names, addresses, settings, which wires are cut.

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace virga::lab {

inline constexpr const char* kFabric = "virga-lab-fabric";  ///< network namespace of the wires between nodes
inline constexpr const char* kNodePrefix =
    "virga-lab-";                                 ///< a node's network namespace: with its name behind
inline constexpr const char* kUnderlay = "und0";  ///< a node's device on the wires
inline constexpr const char* kHome = "/var/lib/virga/home";
inline constexpr const char* kOwnRun = "/run/virga-lab";  ///< inside a node: what the lab lends it

/// Nodes are numbered from 1; node 1 is the controller.
std::string node_name(int number);       ///< "node2"
std::string node_namespace(int number);  ///< "virga-lab-node2"
std::string node_address(int number);    ///< "172.31.0.2"
std::string node_mac(int number);
/// The number of "node2" in a lab of that many hosts. Throws Fault(not_found) that names the nodes there are.
int node_number(const std::string& name, int hosts);

/// virga.toml of the first node, and of another before it joins. `database_url`: of a lab with several controllers; else "".
std::string controller_settings(bool userspace_datapath, const std::string& database_url = {});
std::string machine_settings();
/// /etc/hosts of all nodes.
std::string hosts_file(int hosts);
/// The words of the last line that `virga token create` printed, with the address that the machine has for the others. Throws
/// Fault(internal) if that is no command to join.
std::vector<std::string> join_line(const std::string& token_create_said, const std::string& address);
/// What a node that joins runs: the last line that `virga token create` printed, with the node's own options.
/// Throws Fault(internal) if that is no such line.
std::vector<std::string> join_command(const std::string& token_create_said, int number,
                                      bool userspace_datapath);

/// A pair of nodes, the smaller number first.
using Pair = std::pair<int, int>;
/// The pairs of nodes that do not hear each other.
class Cuts {
 public:
  /// One pair a line, "1 2". What is not a pair is left out.
  static Cuts parse(const std::string& text);
  std::string text() const;
  /// Cuts or heals one pair, or with other = 0 the node from all others of the lab.
  void set(bool cut, int node, int other, int hosts);
  bool has(int a, int b) const { return pairs_.count({std::min(a, b), std::max(a, b)}) != 0; }
  const std::set<Pair>& pairs() const { return pairs_; }

 private:
  std::set<Pair> pairs_;
};

/// The device of a node's bridge that leads to another node, in the fabric: "to2-1" at node 1's end.
std::string wire_name(int at, int to);
std::string bridge_name(int number);  ///< "br2": the bridge of a node's wires, in the fabric
std::string port_name(int number);    ///< "node2": its port towards the node

}  // namespace virga::lab
