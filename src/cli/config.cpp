#include "base/config.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "base/fault.h"
#include "base/process.h"
#include "cli/api.h"

namespace virga::cli {
namespace {

void init(const std::string& path, bool force) {
  if (!force && access(path.c_str(), F_OK) == 0)
    throw Fault(FaultKind::conflict, fmt::format("{} is there already.", path), "Add --force to replace it.");
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) mkdir(path.substr(0, slash).c_str(), 0755);
  write_file(path, commented_default(), 0600);  // it may come to hold passwords
  std::printf("%s written: every key with its meaning, all at their defaults.\n", path.c_str());
}

}  // namespace

void add_config_commands(CLI::App& app, Shared& shared) {
  auto* group = app.add_subcommand("config", "the configuration file");
  group->require_subcommand(1);
  auto path = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  auto* command = group->add_subcommand("init", "write a commented virga.toml with every key");
  command->add_option("path", *path, "where to (default: --config's file, else /etc/virga/virga.toml)");
  command->add_flag("--force", *force, "replace an existing file");
  command->callback([path, force, &shared] {
    init(!path->empty() ? *path : !shared.config_path.empty() ? shared.config_path : kDefaultConfig, *force);
  });
  group->add_subcommand("show", "print the configuration in force")->callback([&shared] { std::fputs(commented_config(shared.load()).c_str(), stdout); });
  group->add_subcommand("reference", "print every key as Markdown")->callback([] { std::fputs(config_reference().c_str(), stdout); });
}

}  // namespace virga::cli
