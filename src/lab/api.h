#pragma once
// A lab: several hosts of one cloud on one machine, for trying out and for tests.
//
// Each host is a process tree with namespaces of its own (lab/node.h), wired to the others over 172.31.0.0/24
// (lab/fabric.h), in which this same program runs as on a machine in host mode: node 1 comes up as a
// controller with guests, the others join it. Nothing of them is in the machine's own network, process
// table's namespace or folders but the lab's folder and the names of network namespaces. There is one lab on
// a machine.
//
// What should be stands in the lab's folder (lab.json, cuts); each command makes it so, and each may be
// killed at any point and run again. All functions block and throw Fault; a second command that changes the
// lab is refused meanwhile.

#include <string>
#include <vector>

#include "base/json.h"
#include "cloud/bring_up.h"
#include "cloud/supervised_process.h"

namespace virga::lab {

inline constexpr int kMostHosts = 32;
inline constexpr const char* kDefaultFolder = "/var/lib/virga-lab";

struct UpOptions {
  int hosts = 0;  ///< 0: as many as there are, else 3
  int controllers = 1;
  bool bare = false;     ///< hosts only, no cloud in them
  std::string packages;  ///< Debian packages of the tiny guest; empty: as before, else in the lab's folder
};

class Lab {
 public:
  /// `program` is this program's path, which the hosts run too.
  Lab(std::string folder, std::string program);

  /// Brings hosts up that are not, and unless `bare` a cloud in them, until it is one. What the hosts'
  /// commands print goes to standard output. Throws Fault(conflict) if there are more hosts already than
  /// wished.
  void up(const UpOptions& options, const cloud::StepDone& done) const;
  /// Ends all hosts at once and removes every trace, whatever state it finds.
  void down(const cloud::StepDone& done) const;
  /// Drops all packets between two hosts, or with other = "" between a host and all others; or no longer
  /// does.
  void cut(const std::string& host, const std::string& other, bool cut) const;
  /// A power failure of the host; or with a process, kill -9 of that (see signal_process). Returns how many
  /// processes.
  int kill(const std::string& host, const std::string& process) const;
  /// Stops a process of the host, or with process = "" all of them, so that it neither works nor ends
  /// (SIGSTOP). Returns how many.
  int pause(const std::string& host, const std::string& process) const;
  /// All that is paused on the host goes on.
  int resume(const std::string& host) const;
  /// Brings a host back after a power failure, and the cloud in it if there was one.
  void start(const std::string& host, const cloud::StepDone& done) const;
  /// Runs a program on a host as from a root's login there; returns its exit code. The calling process stays
  /// in the host.
  int exec(const std::string& host, const std::vector<std::string>& argv) const;
  /// {"folder", "hosts": [{"name", "address", "on", "role", "processes", "memory_kib", "uptime_s", "cloud"}],
  /// "cuts": [["node1", "node2"]]}
  json::object status() const;
  /// The body of `virga lab init HOST`.
  int init(const std::string& host, const std::string& packages) const;

 private:
  struct Shape {
    int hosts = 0;
    std::string packages;
    int controllers = 1;  ///< the first of the hosts
  };
  Shape shape() const;
  Shape grow(const UpOptions& options) const;
  int find(const std::string& host) const;
  cloud::ProcessName running(const std::string& host) const;
  void prepare_machine() const;
  void power(int number, const Shape& shape, const cloud::StepDone& done) const;
  void prepare_guest(const Shape& shape, const cloud::StepDone& done) const;
  bool has_cloud(int number) const;
  void join(int number) const;
  void bring_cloud_up(int number, const cloud::StepDone& done) const;
  void run(int number, const std::vector<std::string>& argv) const;

  const std::string folder_, program_;
};

}  // namespace virga::lab
