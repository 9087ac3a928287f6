#pragma once
// A small client of this cloud's own REST APIs, for provisioning and the command line. It goes the way every other
// client goes: password, token, JSON. Not thread-safe.

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/json.h"
#include "http/api.h"

namespace virga::cloud {

struct Credentials {
  std::string auth_url;  ///< "http://127.0.0.1:5000" (a trailing /v3 or /identity/v3 is understood)
  std::string ca_file;   ///< whom https trusts; "": whom the system trusts
  std::string user, password, project;
  std::string user_domain = "Default", project_domain = "Default";
  bool system = false;  ///< a token of the system instead of the project
};

/// Reads OS_AUTH_URL, OS_USERNAME, … ; nullopt if OS_AUTH_URL or OS_USERNAME is not set.
std::optional<Credentials> credentials_from_environment();

class RestClient {
 public:
  explicit RestClient(Credentials credentials);

  /// Each asks for a token first if there is none (and again once after a 401). `path` starts with the service:
  /// "/compute/v2.1/servers". Throws Fault with the service's status and message if it refuses.
  json::value get(const std::string& path);
  json::value post(const std::string& path, const json::value& body);
  json::value put(const std::string& path, const json::value& body);
  json::value patch(const std::string& path, const json::value& body);
  void remove(const std::string& path);
  /// Streams `size` bytes of a file as the body of a PUT (image data).
  void put_file(const std::string& path, const std::string& file);

  /// First element of a list answer ({"servers": [...]}) whose name or id is `name`; null if there is none.
  json::value find(const std::string& path, const std::string& plural, const std::string& name);

  const std::string& project_id();
  const std::string& user_id();
  const std::string& token();
  const std::string& base_url() const { return base_; }
  const std::string& ca_file() const { return credentials_.ca_file; }
  /// Sent with compute requests ("2.79"); empty = none.
  std::string compute_version;

 private:
  http::Response send(http::ClientRequest request, bool may_renew = true);
  json::value call(const char* method, const std::string& path, const json::value* body);
  void authenticate();

  Credentials credentials_;
  std::string base_, token_, project_id_, user_id_;
};

}  // namespace virga::cloud
