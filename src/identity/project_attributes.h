#pragma once
// What projects and domains have in common in a request: name and tags.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace virga::identity {

/// The name, without the white space around it; refused (400) if nothing is left.
std::string read_project_name(const json::object& attributes);

/// Refuses (400) what is no tag: 1 to 255 characters, without '/' and ','.
void check_tag(std::string_view tag);
/// Refuses (400) more tags than a project may have.
void check_tag_count(size_t count);
/// The attribute "tags", checked; nullopt if it is not given.
std::optional<std::vector<std::string>> read_tags(const json::object& attributes);

}  // namespace virga::identity
