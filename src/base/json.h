#pragma once
// Boost.JSON under a short name, and the few look-ups that every view and validator needs.

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace virga {

namespace json = boost::json;

/// Parses text from outside: depth at most 32, duplicate keys keep the last, invalid UTF-8 refused.
/// Throws Fault(bad_request) that says where it went wrong.
json::value parse_json(std::string_view text);

/// The member if it is there and of that type; otherwise null / the fallback. Never throws.
const json::object* find_object(const json::object& in, std::string_view key);
const json::array* find_array(const json::object& in, std::string_view key);
std::string find_string(const json::object& in, std::string_view key, std::string_view fallback = {});
int64_t find_int(const json::object& in, std::string_view key, int64_t fallback = 0);
bool find_bool(const json::object& in, std::string_view key, bool fallback = false);
/// True if the key is there and its value is not null.
bool has_value(const json::object& in, std::string_view key);
/// Appends the text as a JSON string, quotes and all. It must be UTF-8.
void append_json_string(std::string& out, std::string_view text);
/// Copies a JSON string into a std::string.
inline std::string str(const json::value& v) { return std::string(v.as_string()); }

}  // namespace virga
