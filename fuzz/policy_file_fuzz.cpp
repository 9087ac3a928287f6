// An operator's policy.yaml: any bytes are refused with a bad_request that names the file, or give rules that can be asked,
// in bounded time and depth.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/policy.h"
#include "api/policy_file.h"
#include "base/fault.h"

namespace {

/// Reads, and puts what it read through the same rules that a service would.
void read(std::string_view text) {
  using namespace virga;
  const auto rules = api::parse_policy_file(text, "policy.yaml");
  api::Policy policy;
  api::Caller caller;
  caller.user_id = "u";
  caller.project_id = "p";
  caller.role_names = {"member"};
  for (const auto& rule : rules) {
    if (rule.name.empty() || rule.line < 1) abort();
    policy.declare(rule.name, rule.check);
    if (policy.list().size() > 12) break;  // declaring builds all of it again
  }
  for (const auto& rule : policy.list()) {
    const bool allowed = policy.allows(rule.name, caller, {{"project_id", "p"}, {"user_id", "other"}});
    if (policy.explain(rule.name, caller, {{"project_id", "p"}, {"user_id", "other"}}).allowed != allowed) abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    read(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const virga::Fault& fault) {
    if (fault.kind != virga::FaultKind::bad_request) abort();
  }
  return 0;
}
