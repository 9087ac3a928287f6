#pragma once
// Attribute rows that most of identity's resources have.

#include "api/schema.h"

namespace virga::identity::rows {

inline api::Attribute id() {
  return {.name = "id", .filter = true, .sort = true};
}

/// Must be given. `longest` in characters.
inline api::Attribute name(int64_t longest = 255) {
  return {.name = "name",
          .create = api::Set::required,
          .update = api::Set::optional,
          .min = 1,
          .max = longest,
          .filter = true,
          .sort = true};
}

/// Text that may be null, as where something belongs: "domain_id", "region_id".
inline api::Attribute owner(std::string_view name) {
  return {.name = name,
          .create = api::Set::optional,
          .update = api::Set::optional,
          .nullable = true,
          .filter = true};
}

inline api::Attribute description() {
  return {.name = "description",
          .create = api::Set::optional,
          .update = api::Set::optional,
          .nullable = true,
          .max = 0};
}

inline api::Attribute enabled(bool fallback = true) {
  return {.name = "enabled",
          .type = api::Type::boolean,
          .create = api::Set::optional,
          .update = api::Set::optional,
          .fallback = json::value(fallback),
          .filter = true};
}

inline api::Attribute options() {
  return {.name = "options",
          .type = api::Type::object,
          .create = api::Set::optional,
          .update = api::Set::optional};
}

}  // namespace virga::identity::rows
