#include "cloud/doctor.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/config.h"
#include "cli/api.h"
#include "cloud/kvm_verdict.h"

namespace virga::cli {

void add_doctor_command(CLI::App& app, Shared& shared) {
  auto as_json = std::make_shared<bool>(false);
  auto* command = app.add_subcommand("doctor", "look at this machine: can it be a cloud, and what is in the way?");
  command->add_flag("--json", *as_json);
  command->callback([&shared, as_json] {
    const Config config = shared.load();
    const auto host = cloud::this_host(config, [&config]() -> std::optional<std::string> {
      const qemu::KvmProbe probe = cloud::kvm_verdict(config);
      return probe.usable ? std::nullopt : std::optional(probe.reason);
    });
    const auto rows = cloud::run_doctor(config, host);
    if (*as_json) std::printf("%s\n", json::serialize(cloud::to_json(rows)).c_str());
    else std::fputs(cloud::render_rows(rows).c_str(), stdout);
    if (cloud::worst(rows) == cloud::Health::fail) throw CLI::RuntimeError(1);
  });
}

}  // namespace virga::cli
