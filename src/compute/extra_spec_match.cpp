#include "compute/extra_spec_match.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"

namespace virga::compute {
namespace {

std::optional<double> number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return n;
}

struct Operator {
  std::string_view name;
  bool (*holds)(std::string_view value, std::string_view asked);
};

template <class Compare>
bool numbers(std::string_view value, std::string_view asked, Compare compare) {
  const auto a = number(value), b = number(asked);
  return a && b && compare(*a, *b);
}

constexpr Operator kOperators[] = {
    {"=", [](auto v, auto a) { return numbers(v, a, std::greater_equal<>()); }},  // as nova has it: at least
    {"==", [](auto v, auto a) { return numbers(v, a, std::equal_to<>()); }},
    {"!=", [](auto v, auto a) { return numbers(v, a, std::not_equal_to<>()); }},
    {">=", [](auto v, auto a) { return numbers(v, a, std::greater_equal<>()); }},
    {"<=", [](auto v, auto a) { return numbers(v, a, std::less_equal<>()); }},
    {"s==", [](auto v, auto a) { return v == a; }},
    {"s!=", [](auto v, auto a) { return v != a; }},
    {"s<", [](auto v, auto a) { return v < a; }},
    {"s<=", [](auto v, auto a) { return v <= a; }},
    {"s>", [](auto v, auto a) { return v > a; }},
    {"s>=", [](auto v, auto a) { return v >= a; }},
    {"<in>", [](auto v, auto a) { return v.find(a) != v.npos; }},
};

}  // namespace

bool extra_spec_matches(std::string_view value, std::string_view asked) {
  const auto words = split_words(asked, ' ');
  if (words.empty()) return value == asked;
  if (words.front() == "<or>") {  // <or> a <or> b: each second word is a choice
    for (size_t i = 1; i < words.size(); i += 2)
      if (words[i] == value) return true;
    return false;
  }
  if (words.front() == "<all-in>")
    return words.size() > 1 && std::all_of(words.begin() + 1, words.end(), [&](const std::string& word) {
             return value.find(word) != std::string_view::npos;
           });
  const auto op = std::find_if(std::begin(kOperators), std::end(kOperators),
                               [&](const Operator& o) { return o.name == words.front(); });
  if (op == std::end(kOperators)) return value == asked;
  return words.size() > 1 && op->holds(value, words[1]);
}

}  // namespace virga::compute
