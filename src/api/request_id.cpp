#include "api/request_id.h"

#include <algorithm>

#include "base/ids.h"

namespace virga::api {

bool is_global_request_id(std::string_view text) {
  return text.size() == 40 && text.substr(0, 4) == "req-" && looks_like_uuid(text.substr(4)) &&
         std::none_of(text.begin(), text.end(), [](char c) { return c >= 'A' && c <= 'F'; });
}

}  // namespace virga::api
