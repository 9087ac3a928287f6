// Tokens come from the network: the sealed text, and (as if a key had leaked) the bytes inside.
#include <cstdlib>
#include <string_view>

#include "identity/keys.h"
#include "identity/token.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace virga::identity;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // What is read must be written and read again as the same token.
  if (const auto token = unpack(bytes))
    if (unpack(pack(*token)) != token || unpack_receipt(bytes)) std::abort();
  if (const auto receipt = unpack_receipt(bytes))
    if (unpack_receipt(pack(*receipt)) != receipt || unpack(bytes)) std::abort();
  static char directory[] = "/tmp/virga-fuzz-keys-XXXXXX";
  static KeyRing keys(::mkdtemp(directory));
  if (keys.open(bytes)) std::abort();  // nobody guesses a key
  return 0;
}
