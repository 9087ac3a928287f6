#include "identity/keys.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <map>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/process.h"
#include "base/scope_exit.h"

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

std::map<int, std::string> read_keys(const std::string& directory) {
  std::map<int, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    int number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || number < 0) continue;
    std::string text = read_file(entry.path()), key;
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
    if (base64_decode(text, key) && key.size() == kKey)
      found[number] = key;
    else
      log::warn("Token key {} is not {} bytes of base64; it is left out.", entry.path().string(), kKey);
  }
  return found;
}

void write_key(const std::string& directory, int number) {
  write_file(directory + "/" + std::to_string(number), base64url_encode(random_bytes(kKey)), 0600);
}

/// Holds the repository's lock file: two processes that start together make one set of keys.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::string& directory)
      : fd_(::open((directory + "/.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
    if (fd_ < 0 || ::flock(fd_, LOCK_EX) != 0)
      throw Fault(FaultKind::internal,
                  "The token keys in " + directory + " cannot be locked: " + std::strerror(errno));
  }
  ~DirectoryLock() { ::close(fd_); }
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

 private:
  int fd_;
};

}  // namespace

struct KeyRing::Key {
  explicit Key(std::string secret) : secret(std::move(secret)) {
    const std::string hash = sha256("virga token key " + this->secret);
    std::memcpy(&fingerprint, hash.data(), kFingerprint);
  }
  std::string secret;
  uint32_t fingerprint = 0;
};

KeyRing::KeyRing(std::string directory) : directory_(std::move(directory)) {
  std::filesystem::create_directories(directory_);
  ::chmod(directory_.c_str(), 0700);
  {
    const DirectoryLock lock(directory_);
    if (read_keys(directory_).empty())
      for (int n : {0, 1}) write_key(directory_, n);
  }
  load();
}

KeyRing::~KeyRing() = default;

bool KeyRing::changed_on_disk() {
  struct stat info {};
  if (::stat(directory_.c_str(), &info) != 0) return false;
  const int64_t now = info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec;
  return seen_mtime_ns_.exchange(now) != now;
}

void KeyRing::load() {
  changed_on_disk();
  auto fresh = std::make_shared<Keys>();
  for (auto& [number, secret] : read_keys(directory_))
    fresh->push_back(std::make_shared<Key>(std::move(secret)));
  if (fresh->empty()) throw Fault(FaultKind::internal, "There is no token key in " + directory_ + ".");
  std::atomic_store(&keys_, std::shared_ptr<const Keys>(std::move(fresh)));
}

void KeyRing::rotate(size_t keep) {
  const std::lock_guard guard(writing_);
  const DirectoryLock lock(directory_);
  auto found = read_keys(directory_);
  const int primary = found.empty() ? 0 : found.rbegin()->first;
  if (!found.contains(0)) write_key(directory_, 0);
  const std::string path = directory_ + "/";
  std::filesystem::rename(path + "0", path + std::to_string(primary + 1));
  write_key(directory_, 0);
  found = read_keys(directory_);
  for (auto it = found.upper_bound(0); found.size() > std::max<size_t>(keep, 2) && it != found.end();
       it = found.erase(it))
    std::filesystem::remove(path + std::to_string(it->first));
  load();
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

std::optional<std::string> KeyRing::open(std::string_view sealed, size_t most) {
  std::string raw;
  if (sealed.size() > most || !base64_decode(sealed, raw) || raw.size() < kHead + kTag) return std::nullopt;
  auto* from = reinterpret_cast<unsigned char*>(raw.data());
  if (from[0] != kVersion) return std::nullopt;
  uint32_t fingerprint = 0;
  std::memcpy(&fingerprint, from + 1, kFingerprint);
  auto all = keys();
  const Key* key = find(*all, fingerprint);
  if (!key && changed_on_disk()) {  // another process rotated
    load();
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
