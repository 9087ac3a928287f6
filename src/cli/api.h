#pragma once
// The command line: one file per command group, each registering its subcommands on the program's parser. Commands are
// thin: they parse, call the room that does the work, and print for a person (or JSON with --json).

#include <string>

namespace CLI {
class App;
}

namespace virga {
struct Config;
}

namespace virga::cli {

/// Parses and runs; returns the exit code: 0 done, 1 refused or failed (the cause and next step are printed), 2 bad usage.
int main(int argc, char** argv);

inline constexpr const char* kDefaultConfig = "/etc/virga/virga.toml";

/// Options that every command has.
struct Shared {
  std::string config_path;   ///< --config
  std::string path() const;  ///< the file that is read: --config, VIRGA_CONFIG, or kDefaultConfig if it is there; "" = defaults
  Config load() const;
};

void add_lifecycle_commands(CLI::App& app, Shared& shared);  ///< up, down, status, serve, agent
void add_config_commands(CLI::App& app, Shared& shared);     ///< config init|show|reference
void add_doctor_command(CLI::App& app, Shared& shared);
void add_service_commands(CLI::App& app, Shared& shared);    ///< service status|start|stop|restart, metrics
void add_database_commands(CLI::App& app, Shared& shared);   ///< db tables|shell
void add_explain_command(CLI::App& app, Shared& shared);
void add_guest_commands(CLI::App& app, Shared& shared);      ///< ssh, console, forward, virsh
void add_routes_command(CLI::App& app, Shared& shared);      ///< routes (hidden): docs/api-coverage.md is made from it
void add_policy_commands(CLI::App& app, Shared& shared);     ///< policy list|check
void add_identity_commands(CLI::App& app, Shared& shared);   ///< identity rotate-keys
void add_host_commands(CLI::App& app, Shared& shared);       ///< token, join, leave, host
void add_image_commands(CLI::App& app, Shared& shared);      ///< image build
void add_lab_commands(CLI::App& app);                        ///< lab up|status|exec|cut|heal|kill|pause|resume|start|down|poc

}  // namespace virga::cli
