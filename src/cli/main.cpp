#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/config.h"
#include "base/fault.h"
#include "cli/api.h"

#include <unistd.h>

namespace virga::cli {

std::string Shared::path() const {
  if (!config_path.empty()) return config_path;
  if (const char* from_environment = std::getenv("VIRGA_CONFIG"); from_environment && *from_environment) return from_environment;
  return access(kDefaultConfig, R_OK) == 0 ? kDefaultConfig : "";
}

Config Shared::load() const {
  const std::string file = path();
  return file.empty() ? Config{} : load_config(file);
}

namespace {

/// `virga ssh SERVER -- COMMAND`, `virga lab exec HOST -- COMMAND`: the parser gives what follows "--" to the program, where ssh is to have it.
void drop_separator(std::vector<std::string>& words) {
  const auto separator = std::find(words.begin(), words.end(), "--");
  if (separator == words.end()) return;
  for (const char* command : {"ssh", "virsh", "exec"})
    if (std::find(words.begin(), separator, command) != separator) {
      words.erase(separator);
      return;
    }
}

/// What is wrong with the first word that should be a command and is none: "" if there is no such word.
std::string unknown_command(const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* at = &app;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "-c" || word == "--config") ++i;
    if (word.empty() || word[0] == '-') continue;
    const auto commands = at->get_subcommands([](const CLI::App*) { return true; });
    if (commands.empty()) return "";
    const auto named = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->get_name() == word; });
    if (named != commands.end()) {
      at = *named;
      continue;
    }
    std::vector<std::string> names;
    for (const CLI::App* c : commands)
      if (!c->get_group().empty()) names.push_back(c->get_name());  // the rest is not shown in help either
    const std::string nearest = nearest_word(word, names);
    return fmt::format("virga: \"{}\" is no command{}.\n       {}", word, at == &app ? "" : " of virga " + at->get_name(),
                       nearest.empty() ? fmt::format("There are: {}.", fmt::join(names, ", ")) : fmt::format("The nearest is {}.", nearest));
  }
  return "";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"virga: a private cloud with OpenStack's APIs", "virga"};
  app.set_version_flag("--version", VIRGA_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Shared shared;
  app.add_option("--config,-c", shared.config_path, "virga.toml (default /etc/virga/virga.toml, else built-in defaults)");
  add_lifecycle_commands(app, shared);
  add_config_commands(app, shared);
  add_doctor_command(app, shared);
  add_service_commands(app, shared);
  add_database_commands(app, shared);
  add_explain_command(app, shared);
  add_guest_commands(app, shared);
  add_routes_command(app, shared);
  add_policy_commands(app, shared);
  add_host_commands(app, shared);
  add_image_commands(app, shared);
  add_identity_commands(app, shared);
  add_lab_commands(app);
  try {
    std::vector<std::string> words(argv + 1, argv + argc);
    drop_separator(words);
    std::reverse(words.begin(), words.end());  // as the parser takes them
    app.parse(std::move(words));
    return 0;
  } catch (const CLI::RuntimeError& error) {  // a command that printed its own outcome
    return error.get_exit_code();
  } catch (const CLI::ParseError& error) {
    const std::string wrong = error.get_exit_code() ? unknown_command(app, {argv + 1, argv + argc}) : "";
    if (!wrong.empty()) {
      std::fprintf(stderr, "%s\n", wrong.c_str());
      return 2;
    }
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const Fault& fault) {
    std::fprintf(stderr, "virga: %s\n", fault.message.c_str());
    if (!fault.hint.empty()) std::fprintf(stderr, "       %s\n", fault.hint.c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "virga: %s\n", error.what());
  }
  return 1;
}

}  // namespace virga::cli
