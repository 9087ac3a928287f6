// `virga identity`: what keystone-manage is for keystone.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/config.h"
#include "base/json.h"
#include "cli/api.h"
#include "cli/cloud_client.h"

namespace virga::cli {
namespace {

void rotate_keys(const Config& config, bool credentials) {
  const std::string path = std::string("/keystone/rotate-keys") + (credentials ? "?credentials" : "");
  const json::object done = ask_serve(config, "POST", path, std::chrono::minutes(30)).as_object();
  std::printf("A new key seals tokens; %lld keys are kept, and all tokens that were valid still are.\n",
              static_cast<long long>(find_int(done, "token_keys")));
  if (!credentials) return;
  std::printf("A new key seals credentials; %lld were sealed again.\n",
              static_cast<long long>(find_int(done, "credentials_sealed")));
  if (const int64_t strays = find_int(done, "credentials_unreadable"); strays > 0)
    std::printf("%lld credentials are sealed with keys that are gone; serve's log names them.\n",
                static_cast<long long>(strays));
}

void end_tokens(const Config& config) {
  ask_serve(config, "POST", "/keystone/rotate-keys?end_tokens", std::chrono::minutes(1));
  std::printf("All token keys are new: every token has ended, and everybody logs in again.\n");
}

}  // namespace

void add_identity_commands(CLI::App& app, Shared& shared) {
  auto* group = app.add_subcommand("identity", "the keys behind tokens and stored credentials");
  group->require_subcommand(1);
  auto credentials = std::make_shared<bool>(false);
  auto* rotate =
      group->add_subcommand("rotate-keys", "seal new tokens with the next key; old tokens stay valid");
  rotate->add_flag("--credentials", *credentials,
                   "rotate the keys of /v3/credentials too, and seal each again");
  auto end_all = std::make_shared<bool>(false);
  rotate->add_flag("--end-all-tokens", *end_all, "replace all token keys, after one has leaked: everybody logs in again");
  rotate->callback([&shared, credentials, end_all] {
    const Config config = shared.load();
    if (*end_all) end_tokens(config);
    if (!*end_all || *credentials) rotate_keys(config, *credentials);
  });
}

}  // namespace virga::cli
