#include "identity/faults.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::identity {

void expecting(std::string_view attribute, std::string_view target) {
  throw Fault(FaultKind::bad_request,
              fmt::format("Expecting to find {} in {}. The server could not comply with the request since it "
                          "is either malformed or otherwise incorrect. The client is assumed to be in error.",
                          attribute, target));
}

void refuse_body(std::string message) {
  throw Fault(FaultKind::bad_request, std::move(message));
}

void refuse_authentication() {
  throw Fault(FaultKind::unauthorized, "The request you have made requires authentication.");
}

void forbid() {
  throw Fault(FaultKind::forbidden, "You are not authorized to perform the requested action.");
}

void forbid_action(std::string_view action) {
  throw Fault(FaultKind::forbidden,
              fmt::format("You are not authorized to perform the requested action: {}.", action));
}

}  // namespace virga::identity
