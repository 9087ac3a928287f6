#include "base/master_key.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/process.h"

namespace virga {
namespace {

constexpr size_t kKeySize = 32;

}  // namespace

std::string read_master_key(const std::string& file, bool may_make) {
  if (access(file.c_str(), F_OK) != 0) {
    if (!may_make)
      throw Fault(FaultKind::unavailable, fmt::format("The master key {} is missing.", file),
                  "Copy the file from a controller that works, or from a backup.");
    write_file(file, base64_encode(random_bytes(kKeySize)) + "\n", 0600);
  }
  std::string text = read_file(file), key;
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  if (!base64_decode(text, key) || key.size() != kKeySize)
    throw Fault(FaultKind::unavailable, fmt::format("{} is not {} bytes of base64.", file, kKeySize));
  return key;
}

}  // namespace virga
