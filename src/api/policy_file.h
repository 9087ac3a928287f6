#pragma once
// An operator's policy.yaml as oslo.policy reads it: a mapping of rule names to checks, in the policy
// language or in oslo's older list of lists; JSON is a part of YAML. Bounded: 1 MiB, 4,000 rules, nested 3
// deep, no anchors or aliases.

#include <string>
#include <string_view>
#include <vector>

namespace virga::api {

/// One rule of the file; `line` counts from 1.
struct FileRule {
  std::string name, check;
  int line = 0;
};

/// Throws Fault(bad_request) with file, line and, where there is one, rule. `file` is only a name for
/// messages.
std::vector<FileRule> parse_policy_file(std::string_view yaml, const std::string& file);
/// The same of a file on disk. Throws Fault(not_found) if it cannot be read.
std::vector<FileRule> read_policy_file(const std::string& path);

}  // namespace virga::api
