#include "api/request_id.h"

namespace virga::api {

bool is_global_request_id(std::string_view text) {
  if (text.size() != 40 || text.substr(0, 4) != "req-") return false;
  for (size_t i = 4; i < text.size(); ++i) {
    const char c = text[i];
    const bool dash = i == 12 || i == 17 || i == 22 || i == 27;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

}  // namespace virga::api
