#include "identity/secrets.h"

#include "base/crypto.h"

namespace virga::identity {
namespace {

std::string digest_of(std::string_view secret) {
  return base64_encode(sha256(secret));
}

}  // namespace

std::string new_secret() {
  return base64url_encode(random_bytes(64), false);
}

std::string hash_secret(const Core& core, std::string_view secret) {
  return core.passwords.hash(digest_of(secret));
}

bool verify_secret(Core& core, const std::string& id, std::string_view secret, const std::string& hash) {
  return core.passwords.verify(id, digest_of(secret), hash);
}

}  // namespace virga::identity
