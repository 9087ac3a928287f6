// An enrolled host's proof of who it is: its files, and a new certificate in time.

#include <filesystem>

#include "base/certificate.h"
#include "base/log.h"
#include "base/process.h"
#include "host/agent_core.h"

namespace virga::host {
namespace {

constexpr auto kRenewBefore = std::chrono::hours(24 * 120);  // of a year

std::string own_file(const std::string& dir) {
  return dir + "/host.pem";
}
std::string ca_file(const std::string& dir) {
  return dir + "/ca.pem";
}

/// The file's text from the key on.
std::string key_part(const std::string& pem) {
  const size_t at = pem.find("-----BEGIN PRIVATE KEY-----");
  return at == std::string::npos ? "" : pem.substr(at);
}

}  // namespace

link::Credentials read_credentials(const std::string& dir) {
  const std::string own = read_file(own_file(dir)), key = key_part(own);
  return {read_file(ca_file(dir)), own.substr(0, own.size() - key.size()), key};
}

void write_credentials(const std::string& dir, const link::Credentials& credentials) {
  std::filesystem::create_directories(dir);
  std::filesystem::permissions(dir, std::filesystem::perms::owner_all);
  write_file(ca_file(dir), credentials.ca, 0600);
  write_file(own_file(dir), credentials.certificate + credentials.key, 0600);
}

bool Agent::Core::refresh_certificate() {
  const std::string& dir = options_.identity_dir;
  if (dir.empty()) return false;
  link::Credentials credentials = read_credentials(dir);
  const auto chain = read_certificates(credentials.certificate, own_file(dir));
  if (valid_until(chain.front()) > clock_.now() + kRenewBefore) return false;
  CertificateRequest request = make_certificate_request(common_name(chain.front()));
  credentials.certificate = connection_->renew(request.request);
  credentials.key = std::move(request.key);
  read_certificates(credentials.certificate, "the controller's answer");
  write_credentials(dir, credentials);
  log::info("this host has a new certificate; it is used from the next connection on");
  return true;
}

}  // namespace virga::host
