#pragma once
// `virga doctor`: the look at a machine that an operator takes by hand before installing a cloud. Each check is one row
// with the fix. Checks see the machine only through HostView, so that tests show them any machine.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/json.h"
#include "base/netns.h"
#include "base/process.h"
#include "base/units.h"

namespace virga::cloud {

enum class Health { pass, warn, fail };
const char* to_text(Health health);

struct CheckRow {
  std::string id, title;
  Health health = Health::pass;
  std::string detail;
  std::string fix;       ///< the next step, or ""
};

/// A machine, as the checks see it.
struct HostView {
  std::string root;                                            ///< before /proc, /sys and /etc; "" is this machine
  std::function<Outcome(const std::vector<std::string>&)> run; ///< a program of the machine; exit code 127 if absent
  std::function<std::vector<netns::Route>()> routes;
  std::function<std::optional<std::string>()> kvm_problem;     ///< nullopt: KVM runs guest instructions
  std::function<bool(const std::string&)> socket_answers;
  std::function<bool(int)> port_free;
  std::function<Bytes(const std::string&)> free_disk;

  /// The text of a file under root, or "".
  std::string read(const std::string& path) const;
  bool exists(const std::string& path) const;
};
/// This machine. `kvm_problem` is qemu's probe, given by the caller.
HostView this_host(const Config& config, std::function<std::optional<std::string>()> kvm_problem);

std::vector<CheckRow> run_doctor(const Config& config, const HostView& host);
/// The rows as a table for a person.
std::string render_rows(const std::vector<CheckRow>& rows);
json::array to_json(const std::vector<CheckRow>& rows);
Health worst(const std::vector<CheckRow>& rows);

// By topic; each returns its rows.
std::vector<CheckRow> check_cpu(const Config& config, const HostView& host);
std::vector<CheckRow> check_resources(const Config& config, const HostView& host);
std::vector<CheckRow> check_network(const Config& config, const HostView& host);
std::vector<CheckRow> check_software(const Config& config, const HostView& host);

/// Debian packages that a trial needs at run time.
const std::vector<std::string>& needed_packages();

}  // namespace virga::cloud
