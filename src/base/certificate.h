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


/// A new key and a request for a certificate of it (PKCS #10, RFC 2986), signed with the key.
struct CertificateRequest {
  std::string request, key;
};
CertificateRequest make_certificate_request(const std::string& name);
/// A client's certificate for a year, signed by the CA: `name` as its common name, `uri` as its subject alternative
/// name. Of the request only the public key is taken. Throws Fault(bad_request) if it is none, or not signed with its key.
std::string sign_client_certificate(const PemPair& ca, const std::string& request, const std::string& name,
                                    const std::string& uri, WallTime now);
std::string common_name(const Certificate& certificate);
/// URIs among its subject alternative names.
std::vector<std::string> uris_of(const Certificate& certificate);
/// SHA-256 of the whole certificate (DER), hexadecimal.
std::string fingerprint(const Certificate& certificate);
/// The same of the first certificate of a PEM text, which is not read for it: that takes OpenSSL a third of a millisecond.
/// Throws Fault(bad_request) if there is none.
std::string fingerprint_of_pem(const std::string& pem);
/// SHA-256 of its SubjectPublicKeyInfo (as RFC 7469 pins it), hexadecimal. What a new certificate of the same key keeps.
std::string key_fingerprint(const Certificate& certificate);
/// The same of a request, which must be signed with its key. Throws Fault(bad_request).
std::string request_key_fingerprint(const std::string& request);

}  // namespace virga
