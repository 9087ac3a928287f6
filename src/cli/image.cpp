#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/config.h"
#include "cli/api.h"
#include "cloud/serve.h"
#include "qemu/api.h"

namespace virga::cli {

void add_image_commands(CLI::App& app, Shared& shared) {
  auto* group = app.add_subcommand("image", "guest images");
  group->require_subcommand(1);
  auto options = std::make_shared<qemu::TinyGuestOptions>();
  auto* build = group->add_subcommand("build", "build the tiny guest (kernel, initrd, disk) from Debian packages");
  build->add_option("--out", options->out_dir, "folder for the files (default: where `virga up` looks)");
  build->add_option("--packages", options->package_dir, "folder that keeps the packages");
  build->add_option("--user", options->user, "user in the guest");
  build->add_option("--password", options->password, "that user's password on the console");
  build->callback([&shared, options] {
    if (options->out_dir.empty()) options->out_dir = cloud::Paths(shared.load()).guest;
    if (options->package_dir.empty()) options->package_dir = options->out_dir + "/packages";
    const auto guest = qemu::build_tiny_guest(*options, [](std::string_view line) { std::printf("%.*s\n", static_cast<int>(line.size()), line.data()); });
    std::printf("kernel  %s\ninitrd  %s\ndisk    %s\nsha256  %s\n", guest.kernel.c_str(), guest.initrd.c_str(), guest.disk.c_str(), guest.checksum.c_str());
  });
}

}  // namespace virga::cli
