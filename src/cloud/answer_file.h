#pragma once
// packstack's answer files: CONFIG_* keys, as far as they mean something here, mapped onto virga.toml's keys.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config.h"

namespace virga::cloud {

/// The file that --gen-answer-file writes: each key that applies, with its comment and the value in force.
std::string generate_answer_file(const Config& config);

struct AnswerResult {
  Config config;
  std::vector<std::string> applied;                               ///< "CONFIG_KEYSTONE_ADMIN_PW -> identity.admin_password"
  std::vector<std::pair<std::string, std::string>> not_applied;   ///< key and why
};
/// Reads an answer file over `base`. Throws Fault(bad_request) with file and line for what cannot be read or is invalid.
AnswerResult apply_answer_file(std::string_view text, const std::string& file_name, const Config& base);

}  // namespace virga::cloud
