#include "compute/name_pattern.h"

#include <fmt/format.h>

#include "base/fault.h"

namespace virga::compute {

bool needs_regex(const std::string& pattern) {
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' || (c == '.' && i + 1 < pattern.size() && pattern[i + 1] == '+'))
      ++i;
    else if (std::string_view("[](){}|?+").find(c) != std::string_view::npos)
      return true;
  }
  return false;
}

NamePattern::NamePattern(const std::string& pattern) {
  const auto refuse = [&](const char* why) {
    return Fault(FaultKind::bad_request, fmt::format("Invalid name filter '{}': {}", pattern, why));
  };
  if (pattern.size() > 255) throw refuse("it is longer than a name may be");
  for (size_t i = 0; i < pattern.size(); ++i) {
    const bool escaped = i > 0 && pattern[i - 1] == '\\';
    if ((pattern[i] == '{' && !escaped) || (escaped && isdigit(static_cast<unsigned char>(pattern[i]))))
      throw refuse("intervals and back references are not supported");
  }
  auto made = std::make_unique<regex_t>();
  if (regcomp(made.get(), pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0)
    throw refuse("it is not a regular expression");
  regex_.reset(made.release());
}

bool NamePattern::matches(const std::string& name) const {
  return regexec(regex_.get(), name.c_str(), 0, nullptr, 0) == 0;
}

}  // namespace virga::compute
