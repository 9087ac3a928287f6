#include "base/sealing.h"

#include <openssl/evp.h>

#include <memory>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga {
namespace {

constexpr size_t kKey = 32, kNonce = 12, kTag = 16;

struct CipherDelete {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
};

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// A context that has been given key, nonce and purpose. `enc`: 1 to seal, 0 to open.
std::unique_ptr<EVP_CIPHER_CTX, CipherDelete> begin(std::string_view key, std::string_view nonce,
                                                    std::string_view purpose, int enc) {
  std::unique_ptr<EVP_CIPHER_CTX, CipherDelete> context(EVP_CIPHER_CTX_new());
  int ignored = 0;
  if (key.size() != kKey || !context ||
      EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key), bytes_of(nonce), enc) != 1 ||
      EVP_CipherUpdate(context.get(), nullptr, &ignored, bytes_of(purpose), static_cast<int>(purpose.size())) != 1)
    throw Fault(FaultKind::internal, "OpenSSL cannot seal.");
  return context;
}

}  // namespace

std::string seal(std::string_view key, std::string_view plain, std::string_view purpose) {
  const std::string nonce = random_bytes(kNonce);
  const auto context = begin(key, nonce, purpose, 1);
  std::string text(plain.size(), '\0'), tag(kTag, '\0');
  int size = 0, last = 0;
  auto* out = reinterpret_cast<unsigned char*>(text.data());
  if (EVP_CipherUpdate(context.get(), out, &size, bytes_of(plain), static_cast<int>(plain.size())) != 1 ||
      EVP_CipherFinal_ex(context.get(), out + size, &last) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTag, tag.data()) != 1)
    throw Fault(FaultKind::internal, "OpenSSL cannot seal.");
  return base64url_encode(nonce + tag + text, false);
}

std::optional<std::string> unseal(std::string_view key, std::string_view sealed, std::string_view purpose) {
  std::string bytes;
  if (!base64_decode(sealed, bytes) || bytes.size() < kNonce + kTag) return std::nullopt;
  const auto context = begin(key, std::string_view(bytes).substr(0, kNonce), purpose, 0);
  const std::string_view text = std::string_view(bytes).substr(kNonce + kTag);
  std::string plain(text.size(), '\0');
  int size = 0, last = 0;
  auto* out = reinterpret_cast<unsigned char*>(plain.data());
  const bool sound =
      EVP_CipherUpdate(context.get(), out, &size, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTag, bytes.data() + kNonce) == 1 &&
      EVP_CipherFinal_ex(context.get(), out + size, &last) == 1;
  if (!sound) return std::nullopt;
  return plain;
}

}  // namespace virga
