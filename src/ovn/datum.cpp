#include "ovn/datum.h"

#include <algorithm>
#include <numeric>

#include "base/fault.h"

namespace virga::ovn {
namespace {

[[noreturn]] void malformed() {
  throw Fault(FaultKind::bad_gateway, "The OVSDB server sent a malformed value.");
}

Atom atom_from_json(const json::value& in) {
  switch (in.kind()) {
    case json::kind::bool_:
      return in.get_bool();
    case json::kind::int64:
      return in.get_int64();
    case json::kind::uint64:
      return static_cast<int64_t>(in.get_uint64());
    case json::kind::double_:
      return in.get_double();
    case json::kind::string:
      return std::string(in.get_string());
    case json::kind::array: {
      const auto& pair = in.get_array();
      if (pair.size() == 2 && pair[0].is_string() && pair[1].is_string() &&
          (pair[0].get_string() == "uuid" || pair[0].get_string() == "named-uuid"))
        return Uuid{std::string(pair[1].get_string())};
      malformed();
    }
    default:
      malformed();
  }
}

json::value atom_to_json(const Atom& atom) {
  return std::visit(
      [](const auto& v) -> json::value {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, Uuid>)
          return json::array{"uuid", v.text};
        else
          return json::value(v);
      },
      atom);
}

/// The elements if `in` is ["set", […]] or ["map", […]].
const json::array* tagged(const json::value& in, std::string_view tag) {
  const auto* a = in.if_array();
  if (!a || a->size() != 2 || !(*a)[0].is_string() || (*a)[0].get_string() != tag) return nullptr;
  if (!(*a)[1].is_array()) malformed();
  return &(*a)[1].get_array();
}

}  // namespace

Datum Datum::text(std::string value) {
  Datum d;
  d.keys_.emplace_back(std::move(value));
  return d;
}

Datum Datum::integer(int64_t value) {
  Datum d;
  d.keys_.emplace_back(value);
  return d;
}

Datum Datum::boolean(bool value) {
  Datum d;
  d.keys_.emplace_back(value);
  return d;
}

Datum Datum::optional_text(const std::string& value) {
  return value.empty() ? Datum() : text(value);
}

Datum Datum::text_set(const std::vector<std::string>& values) {
  Datum d;
  for (const auto& v : values) d.keys_.emplace_back(v);
  d.sort();
  return d;
}

Datum Datum::text_map(const TextMap& values) {
  Datum d;
  d.is_map_ = true;
  for (const auto& [k, v] : values) {
    d.keys_.emplace_back(k);
    d.values_.emplace_back(v);
  }
  return d;
}

Datum Datum::uuids(const std::vector<std::string>& values) {
  Datum d;
  for (const auto& v : values) d.keys_.emplace_back(Uuid{v});
  d.sort();
  return d;
}

Datum Datum::from_json(const json::value& in) {
  Datum d;
  if (const auto* set = tagged(in, "set")) {
    for (const auto& v : *set) d.keys_.push_back(atom_from_json(v));
  } else if (const auto* map = tagged(in, "map")) {
    d.is_map_ = true;
    for (const auto& v : *map) {
      const auto* pair = v.if_array();
      if (!pair || pair->size() != 2) malformed();
      d.keys_.push_back(atom_from_json((*pair)[0]));
      d.values_.push_back(atom_from_json((*pair)[1]));
    }
  } else {
    d.keys_.push_back(atom_from_json(in));
  }
  d.sort();
  return d;
}

json::value Datum::to_json() const {
  json::array elements;
  if (is_map_) {
    for (size_t i = 0; i < keys_.size(); ++i)
      elements.push_back(json::array{atom_to_json(keys_[i]), atom_to_json(values_[i])});
    return json::array{"map", std::move(elements)};
  }
  if (keys_.size() == 1) return atom_to_json(keys_[0]);
  for (const auto& k : keys_) elements.push_back(atom_to_json(k));
  return json::array{"set", std::move(elements)};
}

void Datum::sort() {
  if (!is_map_) {
    std::sort(keys_.begin(), keys_.end());
    keys_.erase(std::unique(keys_.begin(), keys_.end()), keys_.end());
    return;
  }
  std::map<Atom, Atom> sorted;
  for (size_t i = 0; i < keys_.size(); ++i) sorted[keys_[i]] = values_[i];
  keys_.clear();
  values_.clear();
  for (auto& [k, v] : sorted) {
    keys_.push_back(k);
    values_.push_back(std::move(v));
  }
}

std::string Datum::as_text(std::string_view fallback) const {
  if (keys_.empty()) return std::string(fallback);
  if (const auto* s = std::get_if<std::string>(&keys_[0])) return *s;
  if (const auto* u = std::get_if<Uuid>(&keys_[0])) return u->text;
  return std::string(fallback);
}

int64_t Datum::as_integer(int64_t fallback) const {
  const auto* v = keys_.empty() ? nullptr : std::get_if<int64_t>(&keys_[0]);
  return v ? *v : fallback;
}

bool Datum::as_boolean(bool fallback) const {
  const auto* v = keys_.empty() ? nullptr : std::get_if<bool>(&keys_[0]);
  return v ? *v : fallback;
}

std::string Datum::at(std::string_view key) const {
  for (size_t i = 0; i < values_.size(); ++i) {
    const auto* k = std::get_if<std::string>(&keys_[i]);
    const auto* v = std::get_if<std::string>(&values_[i]);
    if (k && v && *k == key) return *v;
  }
  return {};
}

TextMap Datum::as_text_map() const {
  TextMap out;
  for (size_t i = 0; i < values_.size(); ++i) {
    const auto* k = std::get_if<std::string>(&keys_[i]);
    const auto* v = std::get_if<std::string>(&values_[i]);
    if (k && v) out[*k] = *v;
  }
  return out;
}

std::vector<std::string> Datum::as_texts() const {
  std::vector<std::string> out;
  for (const auto& k : keys_) {
    if (const auto* s = std::get_if<std::string>(&k)) out.push_back(*s);
    if (const auto* u = std::get_if<Uuid>(&k)) out.push_back(u->text);
  }
  return out;
}

bool Datum::has_uuid(const std::string& uuid) const {
  return std::binary_search(keys_.begin(), keys_.end(), Atom(Uuid{uuid}));
}

void Datum::apply_difference(const Datum& difference, bool composite) {
  if (!composite) {
    *this = difference;
    return;
  }
  if (!is_map_ && !difference.is_map_) {
    std::vector<Atom> merged;
    std::set_symmetric_difference(keys_.begin(), keys_.end(), difference.keys_.begin(),
                                  difference.keys_.end(), std::back_inserter(merged));
    keys_ = std::move(merged);
    return;
  }
  std::map<Atom, Atom> merged;
  for (size_t i = 0; i < values_.size(); ++i) merged[keys_[i]] = values_[i];
  for (size_t i = 0; i < difference.values_.size(); ++i) {
    const auto it = merged.find(difference.keys_[i]);
    if (it != merged.end() && it->second == difference.values_[i])
      merged.erase(it);
    else
      merged[difference.keys_[i]] = difference.values_[i];
  }
  keys_.clear();
  values_.clear();
  is_map_ = true;
  for (auto& [k, v] : merged) {
    keys_.push_back(k);
    values_.push_back(std::move(v));
  }
}

const Datum& column(const Row& row, std::string_view name) {
  static const Datum none;
  const auto it = row.find(name);
  return it == row.end() ? none : it->second;
}

}  // namespace virga::ovn
