#include "nats/url.h"

#include <charconv>

#include "base/fault.h"

namespace virga::nats {
namespace {

std::string decode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() && std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      out += static_cast<char>(byte);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

Url parse_url(std::string_view text) {
  const Fault wrong(FaultKind::bad_request, "ha.nats_url is no URL of a NATS server.",
                    "It reads tls://HOST:PORT or nats://USER:PASSWORD@HOST:PORT; what is not a letter or digit in user and password is "
                    "written as %XX.");
  Url url;
  if (text.starts_with("tls://")) url.tls = true;
  else if (!text.starts_with("nats://")) throw wrong;
  text.remove_prefix(text.find("//") + 2);
  if (const size_t at = text.rfind('@'); at != text.npos) {
    const std::string_view who = text.substr(0, at);
    const size_t colon = who.find(':');
    url.user = decode(who.substr(0, colon));
    if (colon != who.npos) url.password = decode(who.substr(colon + 1));
    text.remove_prefix(at + 1);
  }
  if (text.ends_with('/')) text.remove_suffix(1);
  const size_t colon = text.rfind(':');
  if (colon != text.npos) {
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port < 1 || url.port > 65535) throw wrong;
    text = text.substr(0, colon);
  }
  url.host = text;
  if (url.host.empty() || url.host.find_first_of("/?# ") != std::string::npos) throw wrong;
  return url;
}

}  // namespace virga::nats
