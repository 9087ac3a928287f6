// Any bytes, in pieces of any size: the inspector must neither crash nor read outside its window, and what it
// reports must hold together.

#include <cstdint>
#include <cstdlib>

#include "qemu/api.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  size_t step = data[0] % 64 + 1;
  uint64_t claimed = data[1] % 2 ? size - 2 : uint64_t{1} << (data[1] % 60);
  std::string_view bytes(reinterpret_cast<const char*>(data + 2), size - 2);
  virga::qemu::ImageInspector inspector;
  for (size_t at = 0; at < bytes.size(); at += step) inspector.feed(bytes.substr(at, step));
  auto info = inspector.finish(claimed);
  if (info.format.empty() || info.other_file.size() > 1023) abort();
  if (info.names_other_file && info.problem.empty()) abort();
  return 0;
}
