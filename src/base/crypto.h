#pragma once
// Small cryptographic helpers over OpenSSL. All thread-safe; all throw Fault(internal) if OpenSSL fails.

#include <string>
#include <string_view>

namespace virga {

std::string random_bytes(size_t count);
/// 128 random bits as 32 hex digits, for passwords that programs keep. Never an id: see new_hex_id.
std::string new_secret();
std::string to_hex(std::string_view bytes);
std::string sha256(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);
/// For protocols that ask for it (RFC 6238, S3's first signatures), not for anything new.
std::string hmac_sha1(std::string_view key, std::string_view bytes);
/// URL-safe base64 (RFC 4648 section 5), with or without padding.
std::string base64url_encode(std::string_view bytes, bool pad = true);
/// Standard base64 (RFC 4648 section 4).
std::string base64_encode(std::string_view bytes);
/// Accepts either alphabet, with or without padding. False if the text is not base64.
bool base64_decode(std::string_view text, std::string& bytes);
/// RFC 4648 section 6, upper or lower case, with or without padding. False if the text is not base32.
bool base32_decode(std::string_view text, std::string& bytes);
/// Compares in time that depends on the lengths only.
bool equal_constant_time(std::string_view a, std::string_view b);
/// Incremental digest: name is an OpenSSL digest name ("md5", "sha256", "sha512").
class Digest {
 public:
  explicit Digest(const char* name);
  ~Digest();
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  void update(std::string_view bytes);
  /// Lower-case hexadecimal; call once.
  std::string finish_hex();

 private:
  void* context_;
};

}  // namespace virga
