#pragma once

#include <string>
#include <string_view>

namespace virga::nats {

struct Url {
  bool tls = false;
  std::string user, password;  ///< percent-decoded
  std::string host;
  int port = 4222;
};

/// Throws Fault(bad_request); never names the password.
Url parse_url(std::string_view text);

}  // namespace virga::nats
