#pragma once

#include <map>
#include <string>
#include <string_view>

namespace virga::db {

/// A database URL taken apart; every part percent-decoded.
struct Url {
  std::string scheme, user, password, host, path;
  int port = 0;
  std::map<std::string, std::string> options;
};

/// Throws Fault(bad_request) with a hint showing both forms. Never puts the password into a message.
Url parse_url(std::string_view text);

}  // namespace virga::db
