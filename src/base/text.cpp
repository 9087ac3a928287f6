#include "base/text.h"

#include <algorithm>

namespace virga {

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> parts;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(by, from), text.size());
    parts.emplace_back(text.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

std::vector<std::string> split_words(std::string_view text, char by) {
  std::vector<std::string> parts = split(text, by);
  std::erase_if(parts, [](const std::string& part) { return part.empty(); });
  return parts;
}

}  // namespace virga
