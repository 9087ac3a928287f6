#include "base/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/fault.h"

namespace virga {
namespace {

/// 1e400 parses to infinity, which JSON cannot say: its text would not parse again.
bool is_finite(const json::value& v) {
  if (v.is_double()) return std::isfinite(v.get_double());
  if (v.is_array()) return std::all_of(v.get_array().begin(), v.get_array().end(), [](const json::value& item) { return is_finite(item); });
  if (v.is_object()) return std::all_of(v.get_object().begin(), v.get_object().end(), [](const auto& member) { return is_finite(member.value()); });
  return true;
}

}  // namespace

json::value parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = 32;
  json::error_code error;
  json::stream_parser parser({}, options);
  const size_t used = parser.write_some(text.data(), text.size(), error);
  if (!error) parser.finish(error);
  const auto rest = text.substr(std::min(used, text.size()));
  if (!error && rest.find_first_not_of(" \t\r\n") != std::string_view::npos) error = json::error::extra_data;
  if (error)
    throw Fault(FaultKind::bad_request,
                fmt::format("The body is not JSON: {} (near byte {}).", error.message(), used));
  json::value value = parser.release();
  if (!is_finite(value)) throw Fault(FaultKind::bad_request, "The body is not JSON: a number in it is too large.");
  return value;
}

const json::object* find_object(const json::object& in, std::string_view key) {
  const json::value* v = in.if_contains(key);
  return v ? v->if_object() : nullptr;
}

const json::array* find_array(const json::object& in, std::string_view key) {
  const json::value* v = in.if_contains(key);
  return v ? v->if_array() : nullptr;
}

std::string find_string(const json::object& in, std::string_view key, std::string_view fallback) {
  const json::value* v = in.if_contains(key);
  return std::string(v && v->is_string() ? std::string_view(v->get_string()) : fallback);
}

int64_t find_int(const json::object& in, std::string_view key, int64_t fallback) {
  const json::value* v = in.if_contains(key);
  if (!v) return fallback;
  if (v->is_int64()) return v->get_int64();
  if (v->is_uint64()) return static_cast<int64_t>(v->get_uint64());
  return fallback;
}

bool find_bool(const json::object& in, std::string_view key, bool fallback) {
  const json::value* v = in.if_contains(key);
  return v && v->is_bool() ? v->get_bool() : fallback;
}

bool has_value(const json::object& in, std::string_view key) {
  const json::value* v = in.if_contains(key);
  return v && !v->is_null();
}

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t plain = 0;  // where the run begins that needs no escape
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    out += text.substr(plain, i - plain);
    plain = i + 1;
    if (byte < 0x20)
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    else
      (out += '\\') += text[i];
  }
  out += text.substr(plain);
  out += '"';
}

}  // namespace virga
