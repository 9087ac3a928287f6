// A NATS server may say anything.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/fault.h"
#include "nats/protocol.h"

namespace {

/// All messages, or that they are refused; the same however the bytes are cut.
std::string read(std::string_view bytes, size_t piece) {
  virga::nats::Parser parser;
  std::string seen;
  try {
    for (size_t at = 0; at < bytes.size(); at += piece)
      parser.feed(bytes.substr(at, piece), [&](const virga::nats::ServerMessage& m) {
        seen += std::to_string(static_cast<int>(m.kind)) + ":" + std::string(m.subject) + ":" + std::string(m.body) + "\n";
      });
  } catch (const virga::Fault&) {
    seen += "refused";
  }
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (read(bytes, bytes.size()) != read(bytes, 1 + data[0] % 64)) std::abort();
  return 0;
}
