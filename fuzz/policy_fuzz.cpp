// Rules come from an operator's file: any text is refused with a bad_request or gives a rule that can be asked, in
// bounded time and depth.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/policy.h"
#include "base/fault.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace virga;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  api::Policy policy;
  policy.declare("admin_required", "role:admin or is_admin:1");
  api::Caller caller;
  caller.user_id = "u";
  caller.project_id = "p";
  caller.role_names = {"member"};
  try {
    policy.declare("r", text);
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::bad_request) abort();
    return 0;
  }
  // A rule that may name itself, too.
  policy.allows("r", caller, {{"project_id", "p"}, {"user_id", "other"}});
  policy.attributes("r");
  return 0;
}
