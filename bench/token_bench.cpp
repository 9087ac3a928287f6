// What a token check costs: known token, known token while others write, token seen for the first time, bare
// unsealing.
#include <benchmark/benchmark.h>

#include "base/crypto.h"
#include "identity/api.h"
#include "identity/keys.h"
#include "identity/token.h"
#include "tests/support/api_client.h"

namespace {

using namespace virga;

struct Cloud {
  Cloud()
      : identity(identity::make_identity({.master_key_file = cloud.directory() + "/master.key", .bcrypt_cost = 4},
                                         cloud.database(), cloud.policy(), cloud.clock())) {
    identity->bootstrap({.admin_password = "secret"});
    identity->set_catalog({&identity->service()});
    cloud.authenticate_with(*identity);
    cloud.mount(identity->service());
  }
  std::string log_in() {
    const json::value body = json::parse(
        R"({"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "secret"}}},
            "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})");
    return std::string(cloud.post("/v3/auth/tokens?nocatalog", body).headers.get("X-Subject-Token"));
  }
  test::TestCloud cloud;
  std::unique_ptr<identity::Identity> identity;
};

void known_token(benchmark::State& state) {
  static Cloud cloud;
  static const std::string token = cloud.log_in();
  for (auto _ : state) benchmark::DoNotOptimize(cloud.identity->authenticate(token));
}
BENCHMARK(known_token)->Threads(1)->Threads(2);

void first_seen_token(benchmark::State& state) {
  Cloud cloud;
  std::vector<std::string> tokens;
  for (int i = 0; i < 20'000; ++i) tokens.push_back(cloud.log_in());  // more than the cache holds
  size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(cloud.identity->authenticate(tokens[i++ % tokens.size()]));
}
BENCHMARK(first_seen_token);

void password_remembered(benchmark::State& state) {
  Cloud cloud;
  for (auto _ : state) benchmark::DoNotOptimize(cloud.log_in());
}
BENCHMARK(password_remembered);

void unseal(benchmark::State& state) {
  Cloud cloud;
  identity::KeyRing keys(identity::database_keys(cloud.cloud.database(), "bench", random_bytes(32), ""));
  identity::Token t;
  t.user_id = new_hex_id();
  t.scope = identity::Scope::project;
  t.scope_id = new_hex_id();
  t.audit_id = random_bytes(16);
  const std::string text = keys.seal(identity::pack(t));
  for (auto _ : state) benchmark::DoNotOptimize(identity::unpack(*keys.open(text)));
}
BENCHMARK(unseal);

}  // namespace

BENCHMARK_MAIN();
