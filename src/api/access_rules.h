#pragma once
// Access rules of application credentials: what keystonemiddleware holds in front of every OpenStack service.

#include <string_view>
#include <vector>

#include "api/context.h"

namespace virga::api {

/// "*" and "{name}" take one path segment, "**" takes anything; the rest is literal.
bool path_matches(std::string_view pattern, std::string_view path);

/// True if one of the rules lets `method` on `path` of a service of that type through. The path counts both
/// as the client sent it and below the service's root, since OpenStack's services have no common root.
bool rules_allow(const std::vector<AccessRule>& rules, std::string_view service_type, std::string_view method,
                 std::string_view path, std::string_view below_root);

}  // namespace virga::api
