#pragma once
// Faults across the wire: a call's status keeps the kind where gRPC has a code for it.

#include <grpcpp/grpcpp.h>

#include "base/fault.h"

namespace virga::link {

grpc::Status to_status(const Fault& fault);
/// `what` was tried. A code that says nothing of the cause means: try again.
Fault to_fault(const grpc::Status& status, const std::string& what);

}  // namespace virga::link
