#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/crypto.h"
#include "compute/keypairs.h"

namespace virga::compute {
namespace {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

Fault failed() {
  return Fault(FaultKind::internal, "OpenSSL could not make a key.");
}

/// SSH's wire format (RFC 4251): length, then bytes.
std::string ssh_string(std::string_view bytes) {
  const auto n = static_cast<uint32_t>(bytes.size());
  std::string out{static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
                  static_cast<char>(n)};
  return out.append(bytes);
}

std::string ssh_mpint(const EVP_PKEY* key, const char* name) {
  BIGNUM* number = nullptr;
  if (EVP_PKEY_get_bn_param(key, name, &number) != 1) throw failed();
  std::string bytes(static_cast<size_t>(BN_num_bytes(number)), '\0');
  BN_bn2bin(number, reinterpret_cast<unsigned char*>(bytes.data()));
  BN_free(number);
  if (!bytes.empty() && (bytes[0] & 0x80)) bytes.insert(0, 1, '\0');
  return ssh_string(bytes);
}

std::string pem_of(EVP_PKEY* key) {
  std::unique_ptr<BIO, decltype(&BIO_free)> memory(BIO_new(BIO_s_mem()), &BIO_free);
  if (!memory ||
      PEM_write_bio_PrivateKey_traditional(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
    throw failed();
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

GeneratedKey rsa(const std::string& comment) {
  const Key key(EVP_RSA_gen(2048));
  if (!key) throw failed();
  const std::string blob = ssh_string("ssh-rsa") + ssh_mpint(key.get(), OSSL_PKEY_PARAM_RSA_E) +
                           ssh_mpint(key.get(), OSSL_PKEY_PARAM_RSA_N);
  return {"ssh-rsa " + base64_encode(blob) + " " + comment, pem_of(key.get())};
}

/// openssh-key-v1, unencrypted (PROTOCOL.key in OpenSSH).
std::string openssh_private(std::string_view public_blob, std::string_view public_raw, std::string_view seed,
                            const std::string& comment) {
  const std::string check = random_bytes(4);
  std::string secret = check + check + ssh_string("ssh-ed25519") + ssh_string(public_raw) +
                       ssh_string(std::string(seed) + std::string(public_raw)) + ssh_string(comment);
  for (char pad = 1; secret.size() % 8 != 0; ++pad) secret += pad;
  std::string file("openssh-key-v1\0", 15);
  file += ssh_string("none") + ssh_string("none") + ssh_string("") + std::string("\0\0\0\1", 4) +
          ssh_string(public_blob) + ssh_string(secret);
  const std::string text = base64_encode(file);
  std::string pem = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
  for (size_t i = 0; i < text.size(); i += 70) pem += text.substr(i, 70) + "\n";
  return pem + "-----END OPENSSH PRIVATE KEY-----\n";
}

GeneratedKey ed25519(const std::string& comment) {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  std::string raw(32, '\0'), seed(32, '\0');
  size_t raw_size = raw.size(), seed_size = seed.size();
  if (!key ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &raw_size) != 1 ||
      EVP_PKEY_get_raw_private_key(key.get(), reinterpret_cast<unsigned char*>(seed.data()), &seed_size) != 1)
    throw failed();
  const std::string blob = ssh_string("ssh-ed25519") + ssh_string(raw);
  return {"ssh-ed25519 " + base64_encode(blob) + " " + comment, openssh_private(blob, raw, seed, comment)};
}

}  // namespace

GeneratedKey generate_key(const std::string& type, const std::string& comment) {
  return type == "ed25519" ? ed25519(comment) : rsa(comment);
}

std::string key_fingerprint(const std::string& public_key) {
  const auto invalid = [] {
    return Fault(FaultKind::bad_request, "Keypair data is invalid: failed to generate fingerprint");
  };
  const size_t first = public_key.find(' ');
  if (first == std::string::npos) throw invalid();
  const std::string type = public_key.substr(0, first);
  const size_t from = public_key.find_first_not_of(' ', first);
  if (from == std::string::npos) throw invalid();
  std::string blob;
  const std::string text = public_key.substr(from, public_key.find_first_of(" \r\n", from) - from);
  // The blob begins with its own type's name: that is what tells a key from any base64 text.
  if (!base64_decode(text, blob) || blob.compare(0, type.size() + 4, ssh_string(type)) != 0) throw invalid();
  Digest md5("md5");
  md5.update(blob);
  std::string hex = md5.finish_hex();
  for (size_t at = 2; at < hex.size(); at += 3) hex.insert(at, 1, ':');
  return hex;
}

}  // namespace virga::compute
