#include "cloud/tls.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/url.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <tuple>

#include "base/clock.h"
#include "base/fault.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "cloud/privileges.h"
#include "cloud/serve.h"

namespace virga::cloud {
namespace {

constexpr auto kRenewBefore = std::chrono::hours(24 * 30);
constexpr const char* kNone = "none";
constexpr auto kLookEvery = std::chrono::seconds(2);
constexpr auto kRenewalEvery = std::chrono::hours(1);

struct Files {
  explicit Files(const Config& config) : dir(Paths(config).tls) {}
  std::string dir;
  std::string ca = dir + "/ca.pem", ca_key = dir + "/ca.key", api = dir + "/api.pem",
              api_key = dir + "/api.key", served = dir + "/serve.pem";
};

void make_folder(const Files& files) {
  if (::mkdir(files.dir.c_str(), 0755) != 0 && errno != EEXIST)
    throw Fault(FaultKind::internal, fmt::format("{} cannot be made: {}.", files.dir, std::strerror(errno)));
  ::chmod(files.dir.c_str(), 0755);  // ca.pem is for everyone, whatever the umask
}

bool is_given(const Config& config) {
  return !config.tls.certificate.empty() || !config.tls.key.empty();
}

std::string host_of(const std::string& url) {
  const auto parsed = boost::urls::parse_uri(url);
  return parsed ? std::string(parsed->host_address()) : "";
}

std::vector<std::string> wanted_names(const Config& config) {
  std::vector<std::string> names = {"localhost", "127.0.0.1"};
  const auto add = [&](const std::string& name) {
    if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  };
  add(config.cloud.api_address);
  add(config.hosts_address());
  add(host_of(config.cloud.public_url));
  for (const auto& name : config.tls.names) add(name);
  return names;
}

std::optional<std::string> try_read(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return std::nullopt;
  return read_file(path);
}

/// Whoever is root may come at the same time: `virga up`, `serve` at its start, the supervisor.
class FolderLock {
 public:
  explicit FolderLock(const std::string& dir)
      : fd_(::open((dir + "/.lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600)) {
    if (fd_ < 0 || ::flock(fd_, LOCK_EX) != 0)
      throw Fault(FaultKind::internal, fmt::format("{} cannot be locked: {}.", dir, std::strerror(errno)));
  }
  ~FolderLock() { ::close(fd_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_;
};

PemPair given_pair(const Config& config) {
  const auto& [certificate, key] = std::tie(config.tls.certificate, config.tls.key);
  if (certificate.empty() || key.empty())
    throw Fault(FaultKind::bad_request, "tls.certificate and tls.key belong together.",
                "Give both, or neither: then this cloud makes a CA of its own.");
  const auto read = [](const std::string& path, const char* name) {
    if (::access(path.c_str(), R_OK) != 0)
      throw Fault(FaultKind::bad_request,
                  fmt::format("{} ({}) cannot be read: {}.", name, path, std::strerror(errno)));
    return read_file(path);
  };
  return {read(certificate, "tls.certificate"), read(key, "tls.key")};
}

void check_given(const Config& config, const PemPair& pair, WallTime now) {
  const auto chain = read_certificates(pair.certificate, config.tls.certificate);
  try {
    check_pair(chain, read_private_key(pair.key, config.tls.key), now);
  } catch (const Fault& fault) {
    throw Fault(fault.kind, fmt::format("{}, {}: {}", config.tls.certificate, config.tls.key, fault.message),
                fault.hint);
  }
  const std::string host = host_of(api_url(config));
  if (!covers(chain.front(), {host}))
    throw Fault(
        FaultKind::bad_request,
        fmt::format("{} does not name {}, where clients reach the API.", config.tls.certificate, host),
        "Set cloud.public_url to a name that it has: https://NAME:PORT.");
}

/// Our CA: made if there is none, if its key is gone, or if it would end before what it signs.
PemPair own_ca(const Files& files, WallTime now) {
  const auto certificate = try_read(files.ca), key = try_read(files.ca_key);
  if (certificate && key) {
    try {
      if (valid_until(read_certificates(*certificate, files.ca).front()) > now + kRenewBefore)
        return {*certificate, *key};
    } catch (const Fault& fault) {
      log::warn("{} {}", fault.message, "A new CA is made.");
    }
  }
  const PemPair ca = make_ca("Virga CA " + new_hex_id().substr(0, 8), now);
  write_file(files.ca_key, ca.key, 0600);
  write_file(files.ca, ca.certificate, 0644);
  log::info("a new CA was made: {}", files.ca);
  return ca;
}

bool serves(const PemPair& pair, const Config& config, const Files& files, WallTime now) {
  try {
    const auto chain = read_certificates(pair.certificate, files.api);
    check_pair(chain, read_private_key(pair.key, files.api_key), now);
    return valid_until(chain.front()) > now + kRenewBefore && covers(chain.front(), wanted_names(config)) &&
           signed_by(chain.front(), read_certificates(read_file(files.ca), files.ca).front());
  } catch (const Fault&) {
    return false;  // then it is made anew
  }
}

PemPair own_pair(const Config& config, const Files& files, WallTime now) {
  const auto certificate = try_read(files.api), key = try_read(files.api_key);
  if (certificate && key)
    if (const PemPair pair{*certificate, *key}; serves(pair, config, files, now)) return pair;
  const PemPair pair = make_server_certificate(own_ca(files, now), wanted_names(config), now);
  write_file(files.api_key, pair.key, 0600);
  write_file(files.api, pair.certificate, 0644);
  log::info("a new certificate for the API was made, valid until {}",
            to_iso(std::chrono::time_point_cast<Time::duration>(now + std::chrono::hours(24 * 365))));
  return pair;
}

/// One file, so that nobody reads one half of a pair and the other half of the next. Never readable by
/// others, and by serve's group from its first moment on under its name.
void install(const std::string& path, const std::string& text, const Config& config) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  write_file(fresh, text, 0640);
  if (::geteuid() == 0 && ::chown(fresh.c_str(), 0, control_account(config).gid) != 0)
    throw Fault(FaultKind::internal,
                fmt::format("{} cannot be given to serve: {}.", fresh, std::strerror(errno)));
  if (::rename(fresh.c_str(), path.c_str()) != 0)
    throw Fault(FaultKind::internal, fmt::format("{} cannot be written: {}.", path, std::strerror(errno)));
}

/// What tells a changed file from the one before: which it is, its size and its time.
std::string stamp(const std::string& path) {
  struct stat info {};
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return kNone;
  return fmt::format("{}.{}.{}.{}", info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
}

bool is_header(const std::string& line, std::string& name) {
  const size_t from = line.find_first_not_of(" \t");
  if (from == std::string::npos || line[from] != '[') return false;
  const size_t end = line.find(']', from);
  if (end == std::string::npos) return false;
  name = line.substr(from + 1, end - from - 1);
  name.erase(0, name.find_first_not_of(" \t"));
  name.erase(name.find_last_not_of(" \t") + 1);
  return true;
}

/// Whether the line sets `enabled`, or would if it were no comment.
bool is_enabled_line(const std::string& line) {
  const size_t from = line.find_first_not_of(" \t#");
  if (from == std::string::npos || line.compare(from, 7, "enabled") != 0) return false;
  const size_t next = line.find_first_not_of(" \t", from + 7);
  return next != std::string::npos && line[next] == '=';
}

}  // namespace

std::string api_url(const Config& config) {
  if (!config.cloud.public_url.empty()) return config.cloud.public_url;
  return fmt::format("{}://{}:{}", config.tls.enabled ? "https" : "http", config.cloud.api_address,
                     config.cloud.api_port);
}

std::string trusted_file(const Config& config) {
  if (!config.tls.enabled) return "";
  return is_given(config) ? config.tls.certificate : Files(config).ca;
}

std::string cacert_file(const Config& config) {
  if (!config.tls.enabled || !is_given(config)) return trusted_file(config);
  const auto chain = read_certificates(read_file(config.tls.certificate), config.tls.certificate);
  return signed_by(chain.back(), chain.back()) ? config.tls.certificate : "";
}

std::string served_key_fingerprint(const Config& config) {
  const Files files(config);
  if (!config.tls.enabled || ::access(files.served.c_str(), R_OK) != 0)
    throw Fault(FaultKind::conflict, "The API does not speak TLS, so another machine could not tell whom it talks to.",
                "`virga up --tls`");
  return key_fingerprint(read_certificates(read_file(files.served), files.served).front());
}

std::optional<PemPair> api_ca(const Config& config) {
  if (!config.tls.enabled || is_given(config)) return std::nullopt;
  const Files files(config);
  const auto certificate = try_read(files.ca), key = try_read(files.ca_key);
  if (!certificate || !key) return std::nullopt;
  return PemPair{*certificate, *key};
}

void adopt_api_ca(const Config& config, const PemPair& ca) {
  const auto now = std::chrono::system_clock::now();
  const PemPair proof = make_server_certificate(ca, {"localhost"}, now);
  if (!signed_by(read_certificates(proof.certificate, "the proof").front(), read_certificates(ca.certificate, "the CA").front()))
    throw Fault(FaultKind::bad_request, "The key of the API's CA is not its certificate's.");
  const Files files(config);
  make_folder(files);
  const FolderLock lock(files.dir);
  write_file(files.ca_key, ca.key, 0600);
  write_file(files.ca, ca.certificate, 0644);
}

bool refresh_certificate(const Config& config, WallTime now) {
  if (!config.tls.enabled) return false;
  if (config.cloud.public_url.rfind("http://", 0) == 0)
    throw Fault(FaultKind::bad_request,
                "cloud.public_url says http, and tls.enabled makes the API speak https.",
                "Write https:// in cloud.public_url.");
  const Files files(config);
  make_folder(files);
  const FolderLock lock(files.dir);
  const PemPair pair = is_given(config) ? given_pair(config) : own_pair(config, files, now);
  if (is_given(config)) check_given(config, pair, now);
  const std::string text = pair.certificate + (pair.certificate.ends_with('\n') ? "" : "\n") + pair.key;
  if (try_read(files.served) == text) return false;
  install(files.served, text, config);
  return true;
}

std::string with_tls_enabled(const std::string& toml) {
  std::istringstream in(toml);
  std::string out, section, name;
  bool done = false;
  for (std::string line; std::getline(in, line);) {
    if (is_header(line, name)) {
      if (section == "tls" && !done) out += "enabled = true\n", done = true;
      section = name;
    }
    if (section == "tls" && !done && is_enabled_line(line)) line = "enabled = true", done = true;
    out += line + "\n";
  }
  if (!done) out += section == "tls" ? "enabled = true\n" : "\n[tls]\nenabled = true\n";
  return out;
}

ServedCertificate::ServedCertificate(const Config& config) {
  if (!config.tls.enabled) return;
  path_ = Files(config).served;
  seen_ = stamp(path_);
  const std::string pem = read_file(path_);
  server_ = std::make_shared<http::ServerTls>(pem, pem);
}

void ServedCertificate::look(bool always) {
  if (!server_) return;
  const std::string now = stamp(path_);
  if (now == seen_ && !always) return;
  seen_ = now;
  try {
    const std::string pem = read_file(path_);
    server_->replace(pem, pem);
    log::info("the API's certificate was read again from {}", path_);
  } catch (const Fault& fault) {
    log::error("The API keeps its certificate: {} {}", fault.message, fault.hint);
  }
}

CertificateKeeper::CertificateKeeper(Config config, std::string config_path)
    : config_(std::move(config)),
      config_path_(std::move(config_path)),
      seen_config_(stamp(config_path_)),
      thread_([this] { run(); }) {}

CertificateKeeper::~CertificateKeeper() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CertificateKeeper::look_now() {
  {
    std::lock_guard lock(mutex_);
    due_ = true;
  }
  changed_.notify_all();
}

void CertificateKeeper::run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    lock.unlock();
    look();
    lock.lock();
    changed_.wait_for(lock, kLookEvery, [this] { return ending_ || due_; });
    if (std::exchange(due_, false)) last_ = {};
  }
}

void CertificateKeeper::look() {
  const auto now = std::chrono::steady_clock::now();
  try {
    if (const std::string stamped = stamp(config_path_); stamped != seen_config_) {
      seen_config_ = stamped;
      if (stamped != kNone) config_ = load_config(config_path_);
      last_ = {};
    }
    const std::string files = stamp(config_.tls.certificate) + stamp(config_.tls.key);
    if (files == seen_files_ && last_ != std::chrono::steady_clock::time_point{} &&
        now - last_ < kRenewalEvery)
      return;
    seen_files_ = files;
    last_ = now;
    if (refresh_certificate(config_)) log::info("a certificate for the API was installed");
  } catch (const std::exception& error) {
    last_ = now;
    log::error("The API keeps its certificate: {}", error.what());
  }
}

}  // namespace virga::cloud
