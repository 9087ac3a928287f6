#pragma once
// X.509: reading and checking PEM files, and a small CA of our own (EC P-256). Over OpenSSL; thread-safe.
// What a person gave and cannot be used is Fault(bad_request) that names the file and what is wrong with it.

#include <openssl/x509.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace virga {

using Certificate = std::shared_ptr<X509>;
using PrivateKey = std::shared_ptr<EVP_PKEY>;
using WallTime = std::chrono::system_clock::time_point;

/// All certificates of a PEM text, in its order. `what` names the text in faults ("/etc/ssl/api.pem").
std::vector<Certificate> read_certificates(const std::string& pem, const std::string& what);
/// A key without a passphrase.
PrivateKey read_private_key(const std::string& pem, const std::string& what);
/// That the key is the first certificate's, that TLS may be served with it, and that it is valid at `now`.
void check_pair(const std::vector<Certificate>& chain, const PrivateKey& key,
                WallTime now = std::chrono::system_clock::now());
/// When a certificate ends.
WallTime valid_until(const Certificate& certificate);
/// Whether it names all of these (names and addresses, as subject alternative names).
bool covers(const Certificate& certificate, const std::vector<std::string>& names);
/// Whether `issuer`'s key signed it.
bool signed_by(const Certificate& certificate, const Certificate& issuer);

struct PemPair {
  std::string certificate, key;
};
/// A CA that signs for ten years.
PemPair make_ca(const std::string& name, WallTime now);
/// A server's certificate for a year, signed by the CA.
PemPair make_server_certificate(const PemPair& ca, const std::vector<std::string>& names, WallTime now);

}  // namespace virga
