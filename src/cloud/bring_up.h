#pragma once
// From a bare machine to running services, and back without a trace.
//
// `bring_up` makes sure that a supervisor runs, and waits until its services are ready; run again, it finds everything
// there. The supervisor itself prepares folders, namespaces and databases (each step idempotent), so kill -9 at any
// moment and another `bring_up` converge. `tear_down` stops everything in reverse order, guests first; with `purge` it
// also removes state, logs and namespaces.

#include <functional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/json.h"
#include "cloud/engines.h"

namespace virga::cloud {

struct LaunchOptions {
  /// This program (/usr/bin/virga), run as `PROGRAM serve|agent|supervisor --config FILE`. Empty: only the engines are
  /// started, by a supervisor in a fork of this process (tests).
  std::string program;
  std::string config_path;          ///< empty: the defaults
  std::string watched_config;       ///< where the supervisor looks for changes of [tls]; need not be there
  std::function<bool()> kvm_usable; ///< asked once if virt_type is "auto"; used in the supervisor's process
  std::chrono::milliseconds timeout{120'000};
};

/// A step that is done, and how long it took.
using StepDone = std::function<void(const std::string& step, std::chrono::milliseconds took)>;

/// Starts the supervisor in the background unless it runs, and waits until all wanted services are ready.
/// Throws Fault(timeout) that names what is not ready and why.
void bring_up(const Config& config, const LaunchOptions& options, const StepDone& done);

/// What a supervisor's process does: prepares, supervises, serves the control socket until told to end. SIGTERM leaves
/// the children running. In the foreground under systemd. Returns the exit code: 3 if another supervisor runs.
int run_supervisor(const Config& config, const LaunchOptions& options);

/// Stops all services (guests first). Nothing to do is no error.
void tear_down(const Config& config, bool purge, const StepDone& done);

/// {"phase", "pid", "steps": […], "services": […]} of the running supervisor. Throws Fault(unavailable).
json::object supervisor_status(const Config& config);
/// "start", "stop" or "restart" of one service, alias or group; returns when it is as wished, or after 30 s.
void service_command(const Config& config, const std::string& command, const std::string& service);

std::string supervisor_socket(const Config& config);

/// Listening sockets of the API: api_address:api_port and the alias ports in the root namespace, and on 127.0.0.1 in
/// the data plane's namespace. Throws Fault(conflict) that names the port in use.
std::vector<int> open_api_listeners(const Config& config);
/// The sockets that a parent passed in VIRGA_LISTEN_FDS (close-on-exec again); empty if none.
std::vector<int> inherited_listeners();

}  // namespace virga::cloud
