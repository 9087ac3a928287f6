#include <algorithm>

#include "http/api.h"

namespace virga::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

bool same_name(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// "http://host/path?x" (as proxies send it) to "/path?x".
std::string_view origin_form(std::string_view target) {
  for (std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !same_name(target.substr(0, scheme.size()), scheme)) continue;
    auto slash = target.find_first_of("/?", scheme.size());
    return slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  return target;
}

void parse_query(std::string_view text, Request& into) {
  while (!text.empty()) {
    auto end = text.find('&');
    std::string_view pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (pair.empty()) continue;
    auto equals = pair.find('=');
    std::string name = percent_decode(pair.substr(0, equals), true);
    std::string value = equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1), true);
    into.query.emplace_back(std::move(name), std::move(value));
  }
}

}  // namespace

std::string_view Headers::get(std::string_view name) const {
  for (const auto& [field, value] : fields_)
    if (same_name(field, name)) return value;
  return {};
}

bool Headers::has(std::string_view name) const {
  return std::any_of(fields_.begin(), fields_.end(), [&](const auto& f) { return same_name(f.first, name); });
}

void Headers::set(std::string_view name, std::string_view value) {
  std::string copy(value);  // value may point into a field that goes away
  std::erase_if(fields_, [&](const auto& f) { return same_name(f.first, name); });
  fields_.emplace_back(std::string(name), std::move(copy));
}

void Headers::add(std::string_view name, std::string_view value) {
  fields_.emplace_back(std::string(name), std::string(value));
}

std::optional<std::string> Request::query_value(std::string_view name) const {
  for (const auto& [key, value] : query)
    if (key == name) return value;
  return std::nullopt;
}

void parse_target(std::string_view target, Request& into) {
  into.target = target;
  std::string_view text = origin_form(target);
  text = text.substr(0, text.find('#'));
  auto question = text.find('?');
  std::string_view path = text.substr(0, question);
  if (path.empty()) path = "/";
  if (path != "*" && path[0] != '/')
    throw Fault(FaultKind::bad_request, "The request target is not a path.", "Send an absolute path, as in GET /v3.");
  into.path = percent_decode(path);
  if (into.path.find('\0') != std::string::npos)
    throw Fault(FaultKind::bad_request, "The request path contains a zero byte.");
  into.query.clear();
  if (question != std::string_view::npos) parse_query(text.substr(question + 1), into);
}

std::string percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus_is_space) {
      out += ' ';
    } else if (c != '%') {
      out += c;
    } else {
      int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0)
        throw Fault(FaultKind::bad_request, "Broken percent escape in the URL.", "Write a literal % as %25.");
      out += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  return out;
}

std::string percent_encode(std::string_view text) {
  static constexpr char digits[] = "0123456789ABCDEF";
  std::string out;
  for (char c : text) {
    auto u = static_cast<unsigned char>(c);
    bool plain = (u >= '0' && u <= '9') || (lower(c) >= 'a' && lower(c) <= 'z') || c == '-' || c == '.' || c == '_' ||
                 c == '~';
    if (plain) {
      out += c;
    } else {
      out += '%';
      out += digits[u >> 4];
      out += digits[u & 15];
    }
  }
  return out;
}

}  // namespace virga::http
