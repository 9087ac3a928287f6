#pragma once
// Lists in texts, as queries and settings hold them: "a,b,c".

#include <string>
#include <string_view>
#include <vector>

namespace virga {

/// The parts between separators, empty ones too: "a,,b" has three, "" has one.
std::vector<std::string> split(std::string_view text, char by);
/// The parts that are not empty.
std::vector<std::string> split_words(std::string_view text, char by);

}  // namespace virga
