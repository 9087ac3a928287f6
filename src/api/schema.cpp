#include "api/schema.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <charconv>

#include "base/fault.h"
#include "base/ids.h"

namespace virga::api {
namespace {

[[noreturn]] void refuse(const Resource& resource, const Attribute& a, const json::value& value, std::string_view reason) {
  const std::string shown = value.is_string() ? str(value) : json::serialize(value);
  if (resource.wording == Wording::neutron)
    throw Fault(FaultKind::bad_request, fmt::format("Invalid input for {}. Reason: '{}' {}.", a.name, shown, reason), "", "HTTPBadRequest");
  throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute {}. Value: {}. {} {}", a.name, shown, shown, reason));
}

[[noreturn]] void refuse_name(const Resource& resource, std::string_view name, std::string_view why) {
  if (resource.wording == Wording::neutron)
    throw Fault(FaultKind::bad_request, fmt::format("Unrecognized attribute(s) '{}'{}", name, why), "", "HTTPBadRequest");
  throw Fault(FaultKind::bad_request, fmt::format("Additional properties are not allowed ('{}' was unexpected){}", name, why));
}

bool outside(const Attribute& a, int64_t n) { return (a.min != 0 && n < a.min) || (a.max != 0 && n > a.max); }

size_t utf8_length(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

json::value check_string(const Resource& r, const Attribute& a, const json::value& v) {
  if (!v.is_string()) refuse(r, a, v, r.wording == Wording::neutron ? "is not a valid string" : "is not of type 'string'");
  const std::string_view text = v.get_string();
  if (outside(a, static_cast<int64_t>(utf8_length(text))))
    refuse(r, a, v, text.size() < static_cast<size_t>(a.min) ? "is too short" : fmt::format("exceeds maximum length of {}", a.max));
  if (!a.one_of.empty() && std::find(a.one_of.begin(), a.one_of.end(), text) == a.one_of.end()) {
    std::string allowed;
    for (auto o : a.one_of) allowed += (allowed.empty() ? "'" : ", '") + std::string(o) + "'";
    refuse(r, a, v, r.wording == Wording::neutron ? fmt::format("is not in [{}]", allowed) : fmt::format("is not one of [{}]", allowed));
  }
  return v;
}

json::value check_integer(const Resource& r, const Attribute& a, const json::value& v) {
  int64_t n = 0;
  if (v.is_int64()) n = v.get_int64();
  else if (v.is_uint64()) refuse(r, a, v, "is too large");
  else if (v.is_string()) {
    const std::string_view text = v.get_string();
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) refuse(r, a, v, "is not an integer");
  } else refuse(r, a, v, r.wording == Wording::neutron ? "is not an integer" : "is not of type 'integer'");
  if ((a.min != 0 || a.max != 0) && n < a.min) refuse(r, a, v, fmt::format("is less than the minimum of {}", a.min));
  if (a.max != 0 && n > a.max) refuse(r, a, v, fmt::format("is greater than the maximum of {}", a.max));
  return n;
}

json::value check_boolean(const Resource& r, const Attribute& a, const json::value& v) {
  if (v.is_bool()) return v;
  if (r.wording == Wording::neutron) {
    if (v.is_string())
      if (const auto b = parse_bool(v.get_string())) return *b;
    if (v.is_int64() && (v.get_int64() == 0 || v.get_int64() == 1)) return v.get_int64() == 1;
    refuse(r, a, v, "cannot be converted to boolean");
  }
  refuse(r, a, v, "is not of type 'boolean'");
}

json::value check_text_form(const Resource& r, const Attribute& a, const json::value& v, bool ok(std::string_view), std::string_view what) {
  if (!v.is_string() || !ok(std::string_view(v.get_string()))) refuse(r, a, v, fmt::format("is not a valid {}", what));
  return v;
}

}  // namespace

const Attribute* Resource::find(std::string_view attribute) const {
  for (const auto& a : attributes)
    if (a.name == attribute) return &a;
  return nullptr;
}

json::value validate_value(const Resource& r, const Attribute& a, const json::value& v) {
  if (v.is_null()) {
    if (a.nullable) return v;
    refuse(r, a, v, r.wording == Wording::neutron ? "is not a valid value" : "is not of the right type");
  }
  switch (a.type) {
    case Type::string: return check_string(r, a, v);
    case Type::word: return check_string(r, a, v.is_int64() ? json::value(std::to_string(v.get_int64())) : v);
    case Type::integer: return check_integer(r, a, v);
    case Type::boolean: return check_boolean(r, a, v);
    case Type::uuid: return check_text_form(r, a, v, looks_like_uuid, "UUID");
    case Type::ip: return check_text_form(r, a, v, [](std::string_view t) { return is_ip(t); }, "IP address");
    case Type::cidr: return check_text_form(r, a, v, [](std::string_view t) { return is_cidr(t); }, "IP subnet");
    case Type::mac: return check_text_form(r, a, v, is_mac, "MAC address");
    case Type::number:
      if (!v.is_number()) refuse(r, a, v, "is not of type 'number'");
      return v;
    case Type::object:
      if (!v.is_object()) refuse(r, a, v, r.wording == Wording::neutron ? "is not a dictionary" : "is not of type 'object'");
      return v;
    case Type::array:
      if (!v.is_array()) refuse(r, a, v, r.wording == Wording::neutron ? "is not a list" : "is not of type 'array'");
      if (outside(a, static_cast<int64_t>(v.get_array().size()))) refuse(r, a, v, "has too many or too few items");
      return v;
    case Type::any: return v;
  }
  return v;
}

json::object validate_create(const Resource& r, const json::object& body, Version version) {
  json::object out;
  for (const auto& [name, value] : body) {
    const Attribute* a = r.find(std::string_view(name));
    if (!a || a->create == Set::no || (version != Version{} && a->since > version)) {
      if (!a && r.extra) out[name] = value;
      else refuse_name(r, std::string_view(name), a && a->create == Set::no ? ": it cannot be given at creation" : "");
      continue;
    }
    out[name] = validate_value(r, *a, value);
  }
  for (const auto& a : r.attributes) {
    if (out.contains(a.name)) continue;
    if (a.create == Set::required) {
      if (r.wording == Wording::neutron)
        throw Fault(FaultKind::bad_request, fmt::format("Failed to parse request. Required attribute '{}' not specified", a.name), "", "HTTPBadRequest");
      throw Fault(FaultKind::bad_request, fmt::format("Invalid input for field/attribute {}. Value: {}. '{}' is a required property", r.name,
                                                      json::serialize(body), a.name));
    }
    if (a.fallback) out[a.name] = *a.fallback;
  }
  return out;
}

json::object validate_update(const Resource& r, const json::object& body, Version version) {
  json::object out;
  for (const auto& [name, value] : body) {
    const Attribute* a = r.find(std::string_view(name));
    if (!a || a->update == Set::no || (version != Version{} && a->since > version)) {
      if (!a && r.extra) {
        out[name] = value;
        continue;
      }
      if (a && r.wording == Wording::neutron)
        throw Fault(FaultKind::bad_request, fmt::format("Cannot update read-only attribute {}", a->name), "", "HTTPBadRequest");
      refuse_name(r, std::string_view(name), a ? ": it cannot be changed" : "");
    }
    out[name] = validate_value(r, *a, value);
  }
  return out;
}

bool is_ip(std::string_view text, int family) {
  if (text.size() > 45) return false;
  const std::string copy(text);
  unsigned char out[16];
  return (family != 6 && inet_pton(AF_INET, copy.c_str(), out) == 1) || (family != 4 && inet_pton(AF_INET6, copy.c_str(), out) == 1);
}

bool is_cidr(std::string_view text, int family) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view address = text.substr(0, slash), bits = text.substr(slash + 1);
  int n = -1;
  const auto [end, error] = std::from_chars(bits.data(), bits.data() + bits.size(), n);
  if (error != std::errc() || end != bits.data() + bits.size() || n < 0) return false;
  if (is_ip(address, 4)) return family != 6 && n <= 32;
  return family != 4 && is_ip(address, 6) && n <= 128;
}

bool is_mac(std::string_view text) {
  if (text.size() != 17) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (i % 3 == 2 ? text[i] != ':' : !isxdigit(static_cast<unsigned char>(text[i]))) return false;
  return true;
}

std::optional<bool> parse_bool(std::string_view text) {
  std::string low(text);
  std::transform(low.begin(), low.end(), low.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (auto yes : {"1", "t", "true", "on", "y", "yes"})
    if (low == yes) return true;
  for (auto no : {"0", "f", "false", "off", "n", "no"})
    if (low == no) return false;
  return std::nullopt;
}

}  // namespace virga::api
