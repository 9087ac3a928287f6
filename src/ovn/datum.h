#pragma once
// One column's value in OVSDB's model (RFC 7047 section 3.2), in a canonical form: atoms sorted, so that
// equal values compare equal however the server chose to write them ("x" and ["set",["x"]] are the same).

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.h"

namespace virga::ovn {

using TextMap = std::map<std::string, std::string>;

struct Uuid {
  std::string text;
  friend auto operator<=>(const Uuid&, const Uuid&) = default;
};

using Atom = std::variant<bool, int64_t, double, std::string, Uuid>;

/// A scalar (one key), an optional or set (any number of keys), or a map (as many values as keys).
class Datum {
 public:
  Datum() = default;
  static Datum text(std::string value);
  static Datum integer(int64_t value);
  static Datum boolean(bool value);
  static Datum optional_text(const std::string& value);  ///< "" = empty
  static Datum text_set(const std::vector<std::string>& values);
  static Datum text_map(const TextMap& values);
  static Datum uuids(const std::vector<std::string>& values);

  /// Reads the wire form. Throws Fault(bad_gateway) on anything else.
  static Datum from_json(const json::value& in);
  json::value to_json() const;

  bool empty() const { return keys_.empty(); }
  size_t size() const { return keys_.size(); }
  bool is_map() const { return is_map_; }
  const std::vector<Atom>& keys() const { return keys_; }
  const std::vector<Atom>& values() const { return values_; }

  // Lenient readers: the fallback if the value is empty or of another type.
  std::string as_text(std::string_view fallback = {}) const;
  int64_t as_integer(int64_t fallback = 0) const;
  bool as_boolean(bool fallback = false) const;
  std::string at(std::string_view key) const;  ///< of a text map; "" if absent
  TextMap as_text_map() const;
  std::vector<std::string> as_texts() const;  ///< texts or uuids
  bool has_uuid(const std::string& uuid) const;

  /// Applies the difference that an "update2" carries (ovsdb-server(7), 4.1.14). `composite`: the column may
  /// hold more than one element; if not, the difference is the new value.
  void apply_difference(const Datum& difference, bool composite);

  friend bool operator==(const Datum& a, const Datum& b) {
    return a.keys_ == b.keys_ && a.values_ == b.values_;
  }

 private:
  void sort();
  std::vector<Atom> keys_, values_;
  bool is_map_ = false;
};

using Row = std::map<std::string, Datum, std::less<>>;

/// The column, or an empty value.
const Datum& column(const Row& row, std::string_view name);

}  // namespace virga::ovn
