#include "base/kill_point.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace virga {

void kill_point(const char* name) {
  static const char* const wanted = std::getenv("VIRGA_KILL_POINT");
  if (wanted && std::strcmp(wanted, name) == 0) _exit(137);
}

}  // namespace virga
