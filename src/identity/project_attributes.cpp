#include "identity/project_attributes.h"

#include <fmt/format.h>

#include <set>

#include "base/fault.h"

namespace virga::identity {
namespace {

constexpr size_t kMaxTags = 80;
constexpr std::string_view kSpace = " \t\r\n\f\v";

std::string trimmed(const std::string& text) {
  const size_t from = text.find_first_not_of(kSpace);
  return from == std::string::npos ? "" : text.substr(from, text.find_last_not_of(kSpace) + 1 - from);
}

[[noreturn]] void refuse(std::string message) {
  throw Fault(FaultKind::bad_request, std::move(message));
}

}  // namespace

std::string read_project_name(const json::object& attributes) {
  const std::string given = find_string(attributes, "name"), name = trimmed(given);
  if (name.empty()) refuse(fmt::format("'{}' does not match '[\\\\S]+'", given));
  return name;
}

void check_tag(std::string_view tag) {
  const auto characters = std::count_if(tag.begin(), tag.end(), [](char c) { return (c & 0xC0) != 0x80; });
  if (tag.empty() || characters > 255 || tag.find_first_of("/,") != std::string_view::npos)
    refuse(fmt::format("'{}' is not a tag: it needs 1 to 255 characters, without '/' and ','.", tag));
}

void check_tag_count(size_t count) {
  if (count > kMaxTags) refuse(fmt::format("A project has at most {} tags.", kMaxTags));
}

std::optional<std::vector<std::string>> read_tags(const json::object& attributes) {
  const auto* member = attributes.if_contains("tags");
  if (!member) return std::nullopt;
  if (!member->is_array()) refuse("'tags' must be a list.");
  check_tag_count(member->get_array().size());
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const auto& tag : member->get_array()) {
    if (!tag.is_string()) refuse("A tag must be a string.");
    check_tag(tag.get_string());
    if (!seen.insert(str(tag)).second) refuse(fmt::format("The tag '{}' is there twice.", str(tag)));
    out.push_back(trimmed(str(tag)));
  }
  return out;
}

}  // namespace virga::identity
