#pragma once
// A server list's `name` filter: nova hands it to the database as a regular expression.

#include <regex.h>

#include <memory>
#include <string>

namespace virga::compute {

/// True if the pattern is more than literal text, anchors, ".*" and ".+", which LIKE can say (and an index help).
bool needs_regex(const std::string& pattern);

/// A POSIX extended expression, as MySQL's REGEXP takes it. Intervals and back references are refused: they
/// can cost a matcher any time and memory.
class NamePattern {
 public:
  /// Throws Fault(bad_request).
  explicit NamePattern(const std::string& pattern);
  bool matches(const std::string& name) const;

 private:
  struct Free {
    void operator()(regex_t* r) const {
      regfree(r);
      delete r;
    }
  };
  std::unique_ptr<regex_t, Free> regex_;
};

}  // namespace virga::compute
