#pragma once
// A resource's attributes as rows: one table drives validation of bodies, filters, sorting, `fields`, and docs.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/version.h"
#include "base/json.h"

namespace virga::api {

/// `word`: text, or an integer that is kept as text (a protocol by name or number).
enum class Type { string, word, uuid, boolean, integer, number, object, array, ip, cidr, mac, any };
enum class Set { no, optional, required };  ///< may the caller give it?

/// How messages read: jsonschema's words (nova, keystone, glance, cinder) or neutron's.
enum class Wording { schema, neutron };

struct Attribute {
  std::string_view name;
  Type type = Type::string;
  Set create = Set::no;
  Set update = Set::no;
  std::optional<json::value> fallback{};   ///< taken on create when absent
  bool nullable = false;
  int64_t min = 0;                         ///< string: length; integer: value; array: count. Checked if max > 0 or min > 0
  int64_t max = 255;                       ///< 0 = no bound
  std::vector<std::string_view> one_of{};
  bool filter = false;
  bool sort = false;
  std::string_view column{};               ///< SQL column when it differs from the name
  Version since{};
};

struct Resource {
  std::string_view name;    ///< "network": the body's envelope
  std::string_view plural;  ///< "networks"
  std::vector<Attribute> attributes;
  Wording wording = Wording::schema;
  bool extra = false;       ///< unknown attributes are kept (keystone's "extra") instead of refused
  const Attribute* find(std::string_view attribute) const;
};

/// Validated attributes of {"network": {…}}: only known, settable, well-typed ones, with fallbacks filled in.
/// Throws Fault(bad_request) that names the attribute, its value and the reason. Integers given as text are accepted
/// where OpenStack accepts them ("5" for integer, "true"/"0"/"yes" for boolean under neutron's wording) and normalised.
json::object validate_create(const Resource& resource, const json::object& body, Version version = {});
/// The same for an update: no fallbacks; an attribute with update == no is refused.
json::object validate_update(const Resource& resource, const json::object& body, Version version = {});
/// One value against one row; returns it normalised.
json::value validate_value(const Resource& resource, const Attribute& attribute, const json::value& value);

/// "10.0.0.1", "fd00::1": true if it is an address of that family (0 = any, 4, 6).
bool is_ip(std::string_view text, int family = 0);
bool is_cidr(std::string_view text, int family = 0);
bool is_mac(std::string_view text);
/// oslo.utils' strict bool_from_string: 1 t true on y yes / 0 f false off n no; nullopt otherwise.
std::optional<bool> parse_bool(std::string_view text);

}  // namespace virga::api
