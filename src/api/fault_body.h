#pragma once
// A Fault in each service's own body format.

#include <string>
#include <string_view>

#include "base/fault.h"
#include "http/api.h"

namespace virga::api {

/// Whose error bodies: they differ, and clients parse them.
enum class FaultStyle { keystone, nova, neutron, glance, placement };

/// The whole error response; a hint is appended to the message as its last sentence.
http::Response render_fault(const Fault& fault, FaultStyle style, const std::string& request_id);

/// Fault(forbidden) of a rule that did not hold, in the service's words.
Fault policy_refusal(FaultStyle style, std::string_view rule);

}  // namespace virga::api
