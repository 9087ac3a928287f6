#pragma once
// Resources whose attributes are columns: one attribute row gives validation, storage and view. The in-memory form of
// such a resource is its JSON object; arrays and objects are stored as JSON text.

#include <optional>
#include <string>
#include <string_view>

#include "api/schema.h"
#include "base/clock.h"
#include "db/api.h"

namespace virga::api {

/// An attribute whose column is this is computed by the service, not stored.
inline constexpr std::string_view kNotStored = "-";

/// The stored columns of a resource, in the order of its attribute rows.
std::string record_columns(const Resource& resource);
/// A row of record_columns as an object. Time columns (created_at, updated_at) come out in ISO form.
json::object read_record(const Resource& resource, const db::Row& row, size_t first_column = 0);

void insert_record(db::Tx& tx, const Resource& resource, std::string_view table, const json::object& record);
/// Writes the given attributes only, and grows revision_number and updated_at. False if the row is not there.
bool update_record(db::Tx& tx, const Resource& resource, std::string_view table, std::string_view id, const json::object& changes, Time now);
std::optional<json::object> find_record(db::Tx& tx, const Resource& resource, std::string_view table, std::string_view id);

}  // namespace virga::api
