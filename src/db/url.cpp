#include "db/url.h"

#include <charconv>

#include "base/fault.h"

namespace virga::db {
namespace {

[[noreturn]] void refuse(const char* what) {
  throw Fault(FaultKind::bad_request, std::string("The database URL is not valid: ") + what,
              "Use sqlite:///var/lib/virga/virga.db or mariadb://user:password@host:3306/database");
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string decode(std::string_view in) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '%') {
      out += in[i];
      continue;
    }
    const int high = i + 2 < in.size() ? hex_digit(in[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(in[i + 2]) : -1;
    if (low < 0) refuse("a % is not followed by two hexadecimal digits");
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

void parse_options(std::string_view in, Url& url) {
  while (!in.empty()) {
    const size_t end = std::min(in.find('&'), in.size());
    const std::string_view pair = in.substr(0, end);
    const size_t equals = pair.find('=');
    if (equals == pair.npos) refuse("an option has no value");
    url.options[decode(pair.substr(0, equals))] = decode(pair.substr(equals + 1));
    in.remove_prefix(std::min(end + 1, in.size()));
  }
}

void parse_host(std::string_view in, Url& url) {
  size_t colon = in.rfind(':');
  if (in.starts_with('[')) {  // an IPv6 address
    const size_t close = in.find(']');
    if (close == in.npos) refuse("a [ is not closed");
    url.host = in.substr(1, close - 1);
    colon = close + 1 < in.size() ? close + 1 : in.npos;
  } else {
    url.host = decode(in.substr(0, colon));
  }
  if (colon == in.npos) return;
  const std::string_view port = in.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
  if (error != std::errc() || end != port.data() + port.size() || url.port < 1 || url.port > 65535)
    refuse("the port is not a number from 1 to 65535");
}

void parse_authority(std::string_view in, Url& url) {
  if (const size_t at = in.rfind('@'); at != in.npos) {
    const std::string_view login = in.substr(0, at);
    const size_t colon = login.find(':');
    url.user = decode(login.substr(0, colon));
    if (colon != login.npos) url.password = decode(login.substr(colon + 1));
    in.remove_prefix(at + 1);
  }
  parse_host(in, url);
}

}  // namespace

Url parse_url(std::string_view text) {
  Url url;
  const size_t scheme = text.find("://");
  if (scheme == text.npos) refuse("it has no scheme");
  url.scheme = text.substr(0, scheme);
  text.remove_prefix(scheme + 3);
  if (const size_t question = text.find('?'); question != text.npos) {
    parse_options(text.substr(question + 1), url);
    text = text.substr(0, question);
  }
  if (url.scheme == "sqlite") {
    url.path = decode(text);
    if (url.path.empty()) refuse("it names no file");
    return url;
  }
  if (url.scheme != "mariadb" && url.scheme != "mysql") refuse("its scheme is neither sqlite nor mariadb");
  const size_t slash = text.find('/');
  parse_authority(text.substr(0, slash), url);
  if (slash != text.npos) url.path = decode(text.substr(slash + 1));
  if (url.path.empty()) refuse("it names no database");
  return url;
}

}  // namespace virga::db
