#include "base/certificate.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga {
namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

constexpr auto kClockSkew = std::chrono::minutes(5);  // of clients
constexpr auto kCaLife = std::chrono::hours(24 * 3652), kServerLife = std::chrono::hours(24 * 365);

[[noreturn]] void failed(const std::string& what) {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  const std::string cause = reason ? reason : "no cause given";
  ERR_clear_error();
  throw Fault(FaultKind::internal, fmt::format("OpenSSL could not {}: {}.", what, cause));
}

void must(bool ok, const char* what) {
  if (!ok) failed(what);
}

BioPtr reader(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

int no_passphrase(char*, int, int, void*) {
  return 0;
}

std::string day_of(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  char text[32];
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &parts);
  return text;
}

WallTime time_of(const ASN1_TIME* time) {
  std::tm parts{};
  must(ASN1_TIME_to_tm(time, &parts) == 1, "read a certificate's time");
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

bool is_address(const std::string& name) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, name.c_str(), bytes) == 1 || inet_pton(AF_INET6, name.c_str(), bytes) == 1;
}

std::string pem_of(X509* certificate) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_X509(out.get(), certificate) == 1, "write a certificate");
  return text_of(out.get());
}

std::string pem_of(EVP_PKEY* key) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "write a key");
  return text_of(out.get());
}

void add_extension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>> extension(
      X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  must(extension && X509_add_ext(certificate, extension.get(), -1) == 1, "extend a certificate");
}

/// Subject, serial number, times and key; not signed yet.
Certificate blank(const std::string& subject, EVP_PKEY* key, WallTime now, std::chrono::seconds life) {
  Certificate made(X509_new(), X509_free);
  must(made && X509_set_version(made.get(), X509_VERSION_3) == 1, "make a certificate");
  std::unique_ptr<BIGNUM, Deleter<BN_free>> serial(BN_new());
  must(BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
           BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(made.get())),
       "number a certificate");
  X509_NAME* name = X509_get_subject_name(made.get());
  const auto* bytes = reinterpret_cast<const unsigned char*>(subject.data());
  must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, bytes, static_cast<int>(subject.size()), -1,
                                  0) == 1,
       "name a certificate");
  must(ASN1_TIME_set(X509_getm_notBefore(made.get()),
                     std::chrono::system_clock::to_time_t(now - kClockSkew)) &&
           ASN1_TIME_set(X509_getm_notAfter(made.get()), std::chrono::system_clock::to_time_t(now + life)) &&
           X509_set_pubkey(made.get(), key) == 1,
       "fill a certificate");
  return made;
}

using RequestPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;

/// Whoever sends it holds the key.
RequestPtr read_request(const std::string& pem) {
  RequestPtr request(PEM_read_bio_X509_REQ(reader(pem).get(), nullptr, no_passphrase, nullptr));
  const bool sound = request && X509_REQ_verify(request.get(), X509_REQ_get0_pubkey(request.get())) == 1;
  ERR_clear_error();
  if (!sound) throw Fault(FaultKind::bad_request, "That is no request for a certificate (PKCS #10 in PEM) signed with its key.");
  return request;
}

std::string hex_digest(const unsigned char* der, size_t size) {
  return to_hex(sha256({reinterpret_cast<const char*>(der), size}));
}

std::string digest_of_key(X509_PUBKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(key, &der);
  must(size > 0, "read a public key");
  const std::string digest = hex_digest(der, static_cast<size_t>(size));
  OPENSSL_free(der);
  return digest;
}

/// Issuer and what every certificate that is no CA's has; signs it.
void finish(X509* made, const PemPair& ca_pem, const char* usage, const std::string& alternatives) {
  const Certificate ca = read_certificates(ca_pem.certificate, "the CA's certificate").front();
  const PrivateKey ca_key = read_private_key(ca_pem.key, "the CA's key");
  must(X509_set_issuer_name(made, X509_get_subject_name(ca.get())) == 1, "name a certificate");
  add_extension(made, ca.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(made, ca.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(made, ca.get(), NID_ext_key_usage, usage);
  add_extension(made, ca.get(), NID_subject_alt_name, alternatives);
  add_extension(made, ca.get(), NID_subject_key_identifier, "hash");
  add_extension(made, ca.get(), NID_authority_key_identifier, "keyid");
  must(X509_sign(made, ca_key.get(), EVP_sha256()) > 0, "sign a certificate");
}

/// A year, or as long as the CA has left.
std::chrono::seconds life_under(const PemPair& ca, WallTime now) {
  const auto left = std::chrono::duration_cast<std::chrono::seconds>(
      valid_until(read_certificates(ca.certificate, "the CA's certificate").front()) - now);
  return std::min<std::chrono::seconds>(kServerLife, left);
}

PrivateKey new_key() {
  PrivateKey key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  must(key != nullptr, "make a key");
  return key;
}

}  // namespace

std::vector<Certificate> read_certificates(const std::string& pem, const std::string& what) {
  const BioPtr in = reader(pem);
  std::vector<Certificate> chain;
  while (X509* one = PEM_read_bio_X509(in.get(), nullptr, no_passphrase, nullptr))
    chain.emplace_back(one, X509_free);
  ERR_clear_error();
  if (chain.empty())
    throw Fault(FaultKind::bad_request, fmt::format("{} holds no certificate in PEM.", what),
                "It begins with -----BEGIN CERTIFICATE-----.");
  return chain;
}

PrivateKey read_private_key(const std::string& pem, const std::string& what) {
  PrivateKey key(PEM_read_bio_PrivateKey(reader(pem).get(), nullptr, no_passphrase, nullptr), EVP_PKEY_free);
  ERR_clear_error();
  if (!key)
    throw Fault(FaultKind::bad_request, fmt::format("{} holds no private key that can be read.", what),
                "It must be PEM, and without a passphrase, since nobody is there to type it.");
  return key;
}

void check_pair(const std::vector<Certificate>& chain, const PrivateKey& key, WallTime now) {
  X509* leaf = chain.front().get();
  const auto fail = [](const std::string& message, const char* hint) {
    throw Fault(FaultKind::bad_request, message, hint);
  };
  if (X509_check_private_key(leaf, key.get()) != 1) {
    ERR_clear_error();
    fail("The private key is not the certificate's.",
         "The server's own certificate must be the first of its file.");
  }
  if (X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0) != 1)
    fail("The certificate is not made for servers.", "Its extended key usage must have serverAuth.");
  if (const WallTime begin = time_of(X509_get0_notBefore(leaf)); now < begin)
    fail(fmt::format("The certificate is not valid before {}.", day_of(begin)),
         "Is this machine's clock right?");
  if (const WallTime end = valid_until(chain.front()); now >= end)
    fail(fmt::format("The certificate ended at {}.", day_of(end)), "Renew it.");
}

WallTime valid_until(const Certificate& certificate) {
  return time_of(X509_get0_notAfter(certificate.get()));
}

bool covers(const Certificate& certificate, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    const bool has = is_address(name)
                         ? X509_check_ip_asc(certificate.get(), name.c_str(), 0) == 1
                         : X509_check_host(certificate.get(), name.data(), name.size(), 0, nullptr) == 1;
    if (!has) return false;
  }
  return true;
}

bool signed_by(const Certificate& certificate, const Certificate& issuer) {
  const bool is = X509_verify(certificate.get(), X509_get0_pubkey(issuer.get())) == 1;
  ERR_clear_error();
  return is;
}

PemPair make_ca(const std::string& name, WallTime now) {
  const PrivateKey key = new_key();
  const Certificate ca = blank(name, key.get(), now, kCaLife);
  must(X509_set_issuer_name(ca.get(), X509_get_subject_name(ca.get())) == 1, "name a certificate");
  add_extension(ca.get(), ca.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(ca.get(), ca.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(ca.get(), ca.get(), NID_subject_key_identifier, "hash");
  must(X509_sign(ca.get(), key.get(), EVP_sha256()) > 0, "sign a certificate");
  return {pem_of(ca.get()), pem_of(key.get())};
}

PemPair make_server_certificate(const PemPair& ca_pem, const std::vector<std::string>& names, WallTime now) {
  const PrivateKey key = new_key();
  const Certificate made = blank("virga", key.get(), now, life_under(ca_pem, now));
  std::string alternatives;
  for (const auto& name : names)
    if (name.find_first_of(",;: \t\r\n") != std::string::npos && !is_address(name))
      throw Fault(FaultKind::bad_request, fmt::format("A certificate cannot name \"{}\".", name),
                  "Correct tls.names.");
  for (const auto& name : names)
    alternatives +=
        fmt::format("{}{}:{}", alternatives.empty() ? "" : ",", is_address(name) ? "IP" : "DNS", name);
  finish(made.get(), ca_pem, "serverAuth,clientAuth", alternatives);  // controllers dial each other with it
  return {pem_of(made.get()), pem_of(key.get())};
}

CertificateRequest make_certificate_request(const std::string& name) {
  const PrivateKey key = new_key();
  const RequestPtr request(X509_REQ_new());
  const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
  must(request && X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request.get()), "CN", MBSTRING_UTF8, bytes,
                                             static_cast<int>(name.size()), -1, 0) == 1 &&
           X509_REQ_set_pubkey(request.get(), key.get()) == 1 && X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0,
       "make a request for a certificate");
  const BioPtr out(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_X509_REQ(out.get(), request.get()) == 1, "write a request for a certificate");
  return {text_of(out.get()), pem_of(key.get())};
}

std::string sign_client_certificate(const PemPair& ca, const std::string& request_pem, const std::string& name,
                                    const std::string& uri, WallTime now) {
  const RequestPtr request = read_request(request_pem);
  const Certificate made = blank(name, X509_REQ_get0_pubkey(request.get()), now, life_under(ca, now));
  finish(made.get(), ca, "clientAuth", "URI:" + uri);
  return pem_of(made.get());
}

std::string common_name(const Certificate& certificate) {
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name, sizeof name);
  return name;
}

std::vector<std::string> uris_of(const Certificate& certificate) {
  std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> uris;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* one = sk_GENERAL_NAME_value(names.get(), i);
    if (one->type != GEN_URI) continue;
    const ASN1_IA5STRING* text = one->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)), static_cast<size_t>(ASN1_STRING_length(text)));
  }
  return uris;
}

std::string fingerprint(const Certificate& certificate) {
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate.get(), &der);
  must(size > 0, "read a certificate");
  const std::string digest = hex_digest(der, static_cast<size_t>(size));
  OPENSSL_free(der);
  return digest;
}

std::string fingerprint_of_pem(const std::string& pem) {
  unsigned char* der = nullptr;
  long size = 0;
  const bool found = PEM_bytes_read_bio(&der, &size, nullptr, PEM_STRING_X509, reader(pem).get(), no_passphrase, nullptr) == 1;
  ERR_clear_error();
  if (!found) throw Fault(FaultKind::bad_request, "That is no certificate in PEM.");
  const std::string digest = hex_digest(der, static_cast<size_t>(size));
  OPENSSL_free(der);
  return digest;
}

std::string key_fingerprint(const Certificate& certificate) {
  return digest_of_key(X509_get_X509_PUBKEY(certificate.get()));
}

std::string request_key_fingerprint(const std::string& request) {
  return digest_of_key(X509_REQ_get_X509_PUBKEY(read_request(request).get()));
}

}  // namespace virga
