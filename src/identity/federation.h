#pragma once
// What federation's resources share. They can be made and kept; logging in by them is not built, and says so
// (501).

#include <string>

namespace virga::identity {

/// An id that the client chose in the path; refused (400) if it is too long.
std::string check_federation_id(const std::string& id);

}  // namespace virga::identity
