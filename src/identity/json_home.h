#pragma once
// JSON-home: a document of all resources by their relation, for clients that build their URLs from it.

#include <string_view>

#include "identity/routes.h"

namespace virga::identity {

/// Of the resources that these routes have. `prefix` stands before each URL: "/v3" in the document at the
/// root.
json::object home_document(const Routes& routes, std::string_view prefix);
/// True if an Accept header prefers application/json-home to plain JSON.
bool wants_home_document(std::string_view accept);

}  // namespace virga::identity
