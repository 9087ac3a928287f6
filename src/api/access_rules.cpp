#include "api/access_rules.h"

#include <algorithm>
#include <bitset>

namespace virga::api {
namespace {

constexpr size_t kMaxPattern = 256, kMaxPath = 8192;

/// A step of a pattern: a character that must be there, one or more that are no slash, or any.
enum class Step { literal, segment, anything };

struct Element {
  Step step;
  char literal = 0;
};

std::vector<Element> elements_of(std::string_view pattern) {
  std::vector<Element> out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    const size_t close = c == '{' ? pattern.find('}', i) : std::string_view::npos;
    if (c == '*' && i + 1 < pattern.size() && pattern[i + 1] == '*') {
      out.push_back({Step::anything});
      ++i;
    } else if (c == '*') {
      out.push_back({Step::segment});
    } else if (close != std::string_view::npos) {
      out.push_back({Step::segment});
      i = close;
    } else {
      out.push_back({Step::literal, c});
    }
  }
  return out;
}

}  // namespace

// All readings are followed at once (state i: the first i elements are behind us), so that no pattern takes
// longer than its length times the path's.
bool path_matches(std::string_view pattern, std::string_view path) {
  if (pattern.size() > kMaxPattern || path.size() > kMaxPath) return false;
  const auto elements = elements_of(pattern);
  const size_t n = elements.size();
  std::bitset<kMaxPattern + 1> at, next;
  std::bitset<kMaxPattern + 1> inside;  // state i, and element i (a segment) has taken a character already
  const auto skip = [&](std::bitset<kMaxPattern + 1>& states) {
    for (size_t i = 0; i < n; ++i)
      if (states[i] && elements[i].step == Step::anything) states[i + 1] = true;
  };
  at[0] = true;
  skip(at);
  for (const char c : path) {
    next.reset();
    std::bitset<kMaxPattern + 1> next_inside;
    for (size_t i = 0; i < n; ++i) {
      const Element& e = elements[i];
      if (e.step == Step::anything && at[i]) next[i] = true;
      if (e.step == Step::literal && at[i] && e.literal == c) next[i + 1] = true;
      if (e.step == Step::segment && (at[i] || inside[i]) && c != '/') next_inside[i] = next[i + 1] = true;
    }
    skip(next);
    at = next;
    inside = next_inside;
    if (at.none() && inside.none()) return false;
  }
  return at[n];
}

bool rules_allow(const std::vector<AccessRule>& rules, std::string_view service_type, std::string_view method,
                 std::string_view path, std::string_view below_root) {
  // A service may always ask what a token is.
  if (service_type == "identity" && method == "GET" && below_root == "/v3/auth/tokens") return true;
  return std::any_of(rules.begin(), rules.end(), [&](const AccessRule& rule) {
    return rule.service == service_type && rule.method == method &&
           (path_matches(rule.path, path) || path_matches(rule.path, below_root));
  });
}

}  // namespace virga::api
