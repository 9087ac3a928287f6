#pragma once
// The certificate of the API ([tls] of virga.toml). Either an operator's files, or of a CA that this cloud
// makes for itself in state_dir/tls: ca.pem (for everyone), ca.key, api.pem and api.key (root's).
//
// `serve` gives up root, and could read neither an operator's key nor ours again. So whoever is root (`virga
// up`, `serve` at its start, the supervisor all along) checks the pair and installs it as one file,
// state_dir/tls/serve.pem, which belongs to root and is readable by serve's group; `serve` looks at that
// file. What cannot be used is never installed, so a broken new file leaves the old certificate in service.

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/certificate.h"
#include "base/config.h"
#include "http/api.h"

namespace virga::cloud {

/// Where clients of this cloud's API reach it: "https://127.0.0.1:5000".
std::string api_url(const Config& config);
/// Whom the programs of this host trust: our CA, or the operator's certificate itself. "" without TLS.
std::string trusted_file(const Config& config);
/// What other clients need as OS_CACERT: our CA, or the operator's file if it ends in a CA of his own. "" if
/// the system's CAs do, or without TLS.
std::string cacert_file(const Config& config);

/// SHA-256 of the public key of the certificate that the API shows. Throws Fault(conflict) without TLS.
std::string served_key_fingerprint(const Config& config);

/// As root: sees to it that there is a certificate that can be served (made, or renewed when less than 30
/// days are left, if it is of our CA), and installs it. True if that changed anything. Throws
/// Fault(bad_request) if an operator's files cannot be used, or the settings do not fit together; then
/// nothing has changed.
bool refresh_certificate(const Config& config, WallTime now = std::chrono::system_clock::now());

/// As root: the CA that this cloud made for the API, with its key, for another controller to sign with. Nothing if there is
/// none: no TLS, or an operator's files.
std::optional<PemPair> api_ca(const Config& config);
/// As root: from now on this machine's API is signed by that CA. Throws Fault(bad_request) if it is none.
void adopt_api_ca(const Config& config, const PemPair& ca);

/// The text of a configuration file with tls.enabled = true, all else as it was.
std::string with_tls_enabled(const std::string& toml);

/// What `serve` shows: reads the installed file, and again when it has changed.
class ServedCertificate {
 public:
  /// Null server() if the configuration wants no TLS. Throws Fault if there is no certificate that can be
  /// read.
  explicit ServedCertificate(const Config& config);
  std::shared_ptr<http::ServerTls> server() const { return server_; }
  /// Looks at the file, and takes it if it has changed or `always`. What cannot be used is logged and left.
  void look(bool always = false);

 private:
  std::string path_;
  std::string seen_;
  std::shared_ptr<http::ServerTls> server_;
};

/// In the supervisor: keeps the installed certificate what configuration and files say, as long as it lives.
class CertificateKeeper {
 public:
  /// `config_path` is read again when it changes, or appears ("": `config` for good).
  CertificateKeeper(Config config, std::string config_path);
  ~CertificateKeeper();
  CertificateKeeper(const CertificateKeeper&) = delete;
  CertificateKeeper& operator=(const CertificateKeeper&) = delete;
  void look_now();

 private:
  void run();
  void look();

  Config config_;
  const std::string config_path_;
  std::string seen_config_, seen_files_;
  std::chrono::steady_clock::time_point last_{};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool ending_ = false, due_ = false;
  std::thread thread_;
};

}  // namespace virga::cloud
