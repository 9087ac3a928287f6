#include "link/status.h"

#include <fmt/format.h>

namespace virga::link {

grpc::Status to_status(const Fault& fault) {
  const auto text = fault.hint.empty() ? fault.message : fault.message + " " + fault.hint;
  switch (fault.kind) {
    case FaultKind::not_found:
      return {grpc::NOT_FOUND, text};
    case FaultKind::forbidden:
      return {grpc::PERMISSION_DENIED, text};
    case FaultKind::unauthorized:
      return {grpc::UNAUTHENTICATED, text};
    case FaultKind::bad_request:
      return {grpc::INVALID_ARGUMENT, text};
    case FaultKind::conflict:
      return {grpc::ABORTED, text};
    case FaultKind::precondition_failed:
      return {grpc::FAILED_PRECONDITION, text};
    case FaultKind::unavailable:
      return {grpc::UNAVAILABLE, text};
    case FaultKind::gone:
      return {grpc::DATA_LOSS, text};
    default:
      return {grpc::INTERNAL, text};
  }
}

Fault to_fault(const grpc::Status& status, const std::string& what) {
  const auto text = fmt::format("{}: {}", what, status.error_message());
  switch (status.error_code()) {
    case grpc::NOT_FOUND:
      return Fault(FaultKind::not_found, text);
    case grpc::DATA_LOSS:
      return Fault(FaultKind::gone, text);
    case grpc::PERMISSION_DENIED:
      return Fault(FaultKind::forbidden, text);
    case grpc::ABORTED:
      return Fault(FaultKind::conflict, text);
    case grpc::INVALID_ARGUMENT:
      return Fault(FaultKind::bad_request, text);
    default:
      return Fault(FaultKind::unavailable, text);
  }
}

}  // namespace virga::link
