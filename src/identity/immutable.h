#pragma once
// "options" of projects, domains and roles: there is one, "immutable". What has it set can be neither changed
// nor deleted until it is taken back.

#include <string>
#include <string_view>

#include "base/json.h"

namespace virga::identity {

/// Refuses (400) options that are not there, and values that are not true, false or null.
void check_options(const json::object& attributes);
/// Applies an update's options to the stored ones: null removes.
void merge_options(json::object& stored, const json::object& attributes);

bool is_immutable(const json::object& options);
/// Refuses (403) every update of an immutable resource but the one that makes it mutable and nothing else.
/// `body` is what the client sent.
void check_mutable(const json::object& options, const json::object& body, std::string_view type,
                   const std::string& id);
/// Refuses (403) to delete an immutable resource.
void check_deletable(const json::object& options, std::string_view type, const std::string& id);

}  // namespace virga::identity
