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
#include <utility>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/kill_point.h"
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

/// The staged key becomes number `number`, and its file's time says since when it is in use.
void promote(const std::string& directory, int number) {
  const std::string staged = directory + "/0";
  ::utimensat(AT_FDCWD, staged.c_str(), nullptr, 0);
  std::filesystem::rename(staged, directory + "/" + std::to_string(number));
}

std::chrono::system_clock::time_point in_use_since(const std::string& directory, int number) {
  struct stat info {};
  if (::stat((directory + "/" + std::to_string(number)).c_str(), &info) != 0) return {};
  return std::chrono::system_clock::from_time_t(info.st_mtime);
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
    const auto found = read_keys(directory_);
    if (!found.contains(0)) write_key(directory_, 0);  // none yet, or a rotation was cut off
    if (found.empty() || found.rbegin()->first == 0) write_key(directory_, 1);
  }
  load_if_changed();
}

KeyRing::~KeyRing() = default;

/// A directory's time is as coarse as the kernel's clock, so a change that is a moment old may not be the last with
/// this time: it counts as a change until it has aged.
bool KeyRing::changed_on_disk() {
  struct stat info {};
  if (::stat(directory_.c_str(), &info) != 0) return false;
  const int64_t changed = info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec;
  const int64_t now = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  const bool settled = now - changed > 1'000'000'000LL;
  return std::exchange(seen_mtime_ns_, settled ? changed : 0) != changed;
}

/// Another process may have rotated. Whoever comes while one reads waits for it: the key may be among those read.
void KeyRing::load_if_changed() {
  const std::lock_guard guard(loading_);
  if (!changed_on_disk()) return;
  const DirectoryLock lock(directory_);
  load();
}

void KeyRing::load() {
  auto fresh = std::make_shared<Keys>();
  for (auto& [number, secret] : read_keys(directory_))
    fresh->push_back(std::make_shared<Key>(std::move(secret)));
  if (fresh->empty()) throw Fault(FaultKind::internal, "There is no token key in " + directory_ + ".");
  std::atomic_store(&keys_, std::shared_ptr<const Keys>(std::move(fresh)));
}

bool KeyRing::is_current(std::string_view sealed) const {
  std::string raw;
  if (!base64_decode(sealed, raw) || raw.size() < kHead) return false;
  return std::memcmp(raw.data() + 1, &keys()->back()->fingerprint, kFingerprint) == 0;
}

size_t KeyRing::rotate(size_t keep, std::chrono::seconds used) {
  const std::lock_guard guard(loading_);
  const DirectoryLock lock(directory_);
  auto found = read_keys(directory_);
  if (!found.contains(0)) write_key(directory_, 0);  // a rotation was cut off
  promote(directory_, found.empty() ? 1 : found.rbegin()->first + 1);
  kill_point("identity.key_promoted");
  write_key(directory_, 0);
  kill_point("identity.key_staged");
  found = read_keys(directory_);
  for (auto it = found.upper_bound(0); found.size() > std::max<size_t>(keep, 2) && it != found.end();) {
    const auto next = std::next(it);
    if (next == found.end() || in_use_since(directory_, next->first) + used > std::chrono::system_clock::now())
      break;
    std::filesystem::remove(directory_ + "/" + std::to_string(it->first));
    it = found.erase(it);
  }
  load();
  return found.size();
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
  if (!key) {
    load_if_changed();
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
