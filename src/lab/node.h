#pragma once
// One node of a lab: a process tree that takes itself for a machine.
//
// Its first process is an init of ours with network, mount, PID, UTS and IPC namespaces of its own: it reaps
// orphans, and all ends with it, so SIGKILL to it is a power failure. The machine's file system is there,
// read-only; /run, /tmp, /var/tmp and /dev/shm are the node's own and forget; /etc/virga, /var/lib/virga and
// /var/log/virga are folders of the lab and keep. No cgroups are seen, so that nodes do not meet there.
//
// A parent outside the PID namespace waits for init, and takes it along if it is killed itself.

#include <optional>
#include <string>
#include <vector>

#include "cloud/supervised_process.h"

namespace virga::lab {

/// Where things of a node lie, in the lab's folder.
struct NodeFolders {
  NodeFolders(const std::string& lab, int number);
  std::string root;           ///< of all below
  std::string etc, lib, log;  ///< the node's /etc/virga, /var/lib/virga, /var/log/virga
  std::string settings;       ///< virga.toml
  std::string join;           ///< what `virga token create` said for it, until it has joined
  std::string init;           ///< names init's process once the node is up: "PID START_TICKS"
  std::string keeper;         ///< names init's parent
  std::string console;        ///< what init has to say
};

struct NodeOptions {
  std::string lab;       ///< the lab's folder
  std::string program;   ///< this program
  std::string packages;  ///< shown to the node as /run/virga-lab/packages
};

/// Init of a running node, as processes outside name it.
std::optional<cloud::ProcessName> init_of(const std::string& lab, int number);
/// Starts a node whose wires are there, and waits until it stands. Nothing to do if it runs.
void power_on(const NodeOptions& options, int number);
/// Ends a node at once, and whatever else is in its network namespace; returns when all of it is gone.
void power_off(const std::string& lab, int number);
/// The body of `virga lab init`: becomes the parent of a node's init. Returns init's exit code.
int run_init(const NodeOptions& options, int number);

/// Moves the calling process, which must have one thread, into the node; runs a program there, with the
/// caller's standard streams; returns its exit code (127: there is no such program, 128 + signal). The
/// environment is a fresh login's.
int exec_inside(const cloud::ProcessName& init, std::vector<std::string> argv);
/// The same in a child: the caller stays where it is.
int run_inside(const cloud::ProcessName& init, const std::vector<std::string>& argv);

/// All processes of a node, as processes outside name them.
std::vector<pid_t> processes_of(const cloud::ProcessName& init);
/// Sends a signal to a service by name or alias, to "supervisor", to programs by the name that ps shows, or
/// with name = "" to all processes but init. Returns how many got it. Throws Fault(not_found) if nothing of
/// that name runs there.
int signal_process(const cloud::ProcessName& init, const std::string& name, int signal);

}  // namespace virga::lab
