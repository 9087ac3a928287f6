// Tokens come from the network: the sealed text, and (as if a key had leaked) the bytes inside.
#include <cstdlib>
#include <string_view>

#include "base/crypto.h"
#include "identity/keys.h"
#include "identity/token.h"

namespace {

class OneKey final : public virga::identity::KeyStore {
 public:
  std::optional<virga::identity::StoredKeys> newer_than(int64_t version, virga::db::Tx*) override {
    if (version >= 1) return std::nullopt;
    return virga::identity::StoredKeys{1, {virga::random_bytes(32)}};
  }
  size_t rotate(size_t, std::chrono::seconds) override { return 1; }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace virga::identity;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // What is read must be written and read again as the same token.
  if (const auto token = unpack(bytes))
    if (unpack(pack(*token)) != token || unpack_receipt(bytes)) std::abort();
  if (const auto receipt = unpack_receipt(bytes))
    if (unpack_receipt(pack(*receipt)) != receipt || unpack(bytes)) std::abort();
  static KeyRing keys(std::make_unique<OneKey>());
  if (keys.open(bytes)) std::abort();  // nobody guesses a key
  return 0;
}
