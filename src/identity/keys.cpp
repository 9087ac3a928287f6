#include "identity/keys.h"

#include <openssl/evp.h>

#include <cstring>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga::identity {
namespace {

constexpr unsigned char kVersion = 0x81;
constexpr size_t kFingerprint = 4, kNonce = 12, kTag = 16, kHead = 1 + kFingerprint + kNonce, kKey = 32;

struct CipherDelete {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
};
using CipherPtr = std::unique_ptr<EVP_CIPHER_CTX, CipherDelete>;

/// One context a thread: making one costs more than a token.
EVP_CIPHER_CTX* cipher() {
  thread_local CipherPtr context(EVP_CIPHER_CTX_new());
  if (!context) throw Fault(FaultKind::internal, "OpenSSL gave no cipher context.");
  return context.get();
}

const unsigned char* bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

struct KeyRing::Key {
  explicit Key(std::string secret) : secret(std::move(secret)) {
    const std::string hash = sha256("virga token key " + this->secret);
    std::memcpy(&fingerprint, hash.data(), kFingerprint);
  }
  std::string secret;
  uint32_t fingerprint = 0;
};

KeyRing::KeyRing(std::unique_ptr<KeyStore> store) : store_(std::move(store)) {
  look();
  if (!keys()) throw Fault(FaultKind::internal, "There are no keys.");
}

KeyRing::~KeyRing() = default;

void KeyRing::look(db::Tx* tx) {
  auto stored = store_->newer_than(version_, tx);
  if (!stored) return;
  auto fresh = std::make_shared<Keys>();
  for (auto& secret : stored->secrets) fresh->push_back(std::make_shared<Key>(std::move(secret)));
  if (fresh->empty()) throw Fault(FaultKind::internal, "There are no keys.");
  const std::lock_guard guard(installing_);
  if (stored->version <= version_) return;
  std::atomic_store(&keys_, std::shared_ptr<const Keys>(std::move(fresh)));
  version_ = stored->version;
}

size_t KeyRing::rotate(size_t keep, std::chrono::seconds used) {
  const size_t left = store_->rotate(keep, used);
  look();
  return left;
}

bool KeyRing::is_current(std::string_view sealed) const {
  std::string raw;
  if (!base64_decode(sealed, raw) || raw.size() < kHead) return false;
  return std::memcmp(raw.data() + 1, &keys()->back()->fingerprint, kFingerprint) == 0;
}

const KeyRing::Key* KeyRing::find(const Keys& keys, uint32_t fingerprint) const {
  for (auto it = keys.rbegin(); it != keys.rend(); ++it)
    if ((*it)->fingerprint == fingerprint) return it->get();
  return nullptr;
}

// A random nonce of 96 bits is safe for 2^32 tokens under one key (NIST SP 800-38D, 8.3); rotation comes long
// before.
std::string KeyRing::seal(std::string_view plain) const {
  const auto all = keys();
  const Key& key = *all->back();
  std::string out(kHead + plain.size() + kTag, '\0');
  auto* to = reinterpret_cast<unsigned char*>(out.data());
  to[0] = kVersion;
  std::memcpy(to + 1, &key.fingerprint, kFingerprint);
  const std::string nonce = random_bytes(kNonce);
  std::memcpy(to + 1 + kFingerprint, nonce.data(), kNonce);
  int n = 0, tail = 0;
  auto* c = cipher();
  const bool ok = EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), nullptr, bytes(key.secret), bytes(nonce)) == 1 &&
                  EVP_EncryptUpdate(c, nullptr, &n, to, kHead) == 1 &&
                  EVP_EncryptUpdate(c, to + kHead, &n, bytes(plain), static_cast<int>(plain.size())) == 1 &&
                  EVP_EncryptFinal_ex(c, to + kHead + n, &tail) == 1 &&
                  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, kTag, to + kHead + plain.size()) == 1;
  if (!ok) throw Fault(FaultKind::internal, "OpenSSL could not seal a token.");
  return base64url_encode(out, false);
}

std::optional<std::string> KeyRing::open(std::string_view sealed, size_t most, db::Tx* tx) {
  std::string raw;
  if (sealed.size() > most || !base64_decode(sealed, raw) || raw.size() < kHead + kTag) return std::nullopt;
  auto* from = reinterpret_cast<unsigned char*>(raw.data());
  if (from[0] != kVersion) return std::nullopt;
  uint32_t fingerprint = 0;
  std::memcpy(&fingerprint, from + 1, kFingerprint);
  auto all = keys();
  const Key* key = find(*all, fingerprint);
  if (!key) {
    look(tx);
    all = keys();
    key = find(*all, fingerprint);
  }
  if (!key) return std::nullopt;
  const size_t length = raw.size() - kHead - kTag;
  std::string plain(length, '\0');
  int n = 0, tail = 0;
  auto* c = cipher();
  const bool ok =
      EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), nullptr, bytes(key->secret), from + 1 + kFingerprint) == 1 &&
      EVP_DecryptUpdate(c, nullptr, &n, from, kHead) == 1 &&
      EVP_DecryptUpdate(c, reinterpret_cast<unsigned char*>(plain.data()), &n, from + kHead,
                        static_cast<int>(length)) == 1 &&
      EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, kTag, from + kHead + length) == 1 &&
      EVP_DecryptFinal_ex(c, reinterpret_cast<unsigned char*>(plain.data()) + n, &tail) == 1;
  if (!ok) return std::nullopt;
  return plain;
}

}  // namespace virga::identity
