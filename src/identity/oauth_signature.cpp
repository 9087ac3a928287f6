#include "identity/oauth_signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/crypto.h"
#include "base/fault.h"

namespace virga::identity {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

[[noreturn]] void refuse(std::string message) {
  throw Fault(FaultKind::bad_request, std::move(message));
}

/// The base string's URI: scheme and host in lower case, and no port that goes without saying.
std::string normal_url(std::string_view url) {
  const size_t host = url.find("://") == std::string_view::npos ? 0 : url.find("://") + 3;
  const size_t path = std::min(url.find('/', host), url.size());
  std::string out(url);
  std::transform(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(path), out.begin(), lower);
  const std::string_view authority = std::string_view(out).substr(host, path - host);
  const std::string_view port = out.starts_with("https") ? ":443" : ":80";
  if (authority.ends_with(port)) out.erase(path - port.size(), port.size());
  return out;
}

using Pairs = std::vector<std::pair<std::string, std::string>>;

void add_form(const http::Request& request, Pairs& pairs) {
  const std::string_view type = request.headers.get("Content-Type");
  if (!same_word(trimmed(type.substr(0, type.find(';'))), "application/x-www-form-urlencoded")) return;
  std::string_view body = request.body;
  while (!body.empty()) {
    const std::string_view pair = body.substr(0, body.find('&'));
    body.remove_prefix(std::min(pair.size() + 1, body.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (!pair.empty())
      pairs.emplace_back(http::percent_decode(pair.substr(0, equals), true),
                         http::percent_decode(pair.substr(std::min(equals + 1, pair.size())), true));
  }
}

}  // namespace

OAuthParameters read_oauth_header(const http::Request& request) {
  std::string_view text = trimmed(request.headers.get("Authorization"));
  if (text.size() < 6 || !same_word(text.substr(0, 6), "OAuth "))
    refuse("No Authorization header of scheme OAuth was found.");
  text.remove_prefix(6);
  OAuthParameters out;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    const std::string_view pair = trimmed(part);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) refuse("A parameter of the Authorization header has no value.");
    std::string_view value = trimmed(pair.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    if (!out.emplace(http::percent_decode(trimmed(pair.substr(0, equals))), http::percent_decode(value))
             .second)
      refuse("A parameter of the Authorization header is there twice.");
  }
  return out;
}

std::string oauth_value(const OAuthParameters& parameters, std::string_view name) {
  const auto found = parameters.find(name);
  return found == parameters.end() ? "" : found->second;
}

std::string signature_base(const http::Request& request, std::string_view url,
                           const OAuthParameters& parameters) {
  Pairs pairs;
  for (const auto& [name, value] : request.query) pairs.emplace_back(name, value);
  for (const auto& [name, value] : parameters)
    if (name != "realm" && name != "oauth_signature") pairs.emplace_back(name, value);
  add_form(request, pairs);
  for (auto& [name, value] : pairs) {
    name = http::percent_encode(name);
    value = http::percent_encode(value);
  }
  std::sort(pairs.begin(), pairs.end());
  std::string joined;
  for (const auto& [name, value] : pairs) joined += (joined.empty() ? "" : "&") + name + "=" + value;
  return fmt::format("{}&{}&{}", request.method, http::percent_encode(normal_url(url)),
                     http::percent_encode(joined));
}

bool signature_holds(const http::Request& request, std::string_view url, const OAuthParameters& parameters,
                     std::string_view consumer_secret, std::string_view token_secret) {
  const std::string method = oauth_value(parameters, "oauth_signature_method");
  const std::string version = oauth_value(parameters, "oauth_version");
  if (!version.empty() && version != "1.0") refuse("oauth_version must be 1.0.");
  if (method != "HMAC-SHA1" && method != "HMAC-SHA256")
    refuse("oauth_signature_method must be HMAC-SHA1 or HMAC-SHA256.");
  const std::string key = http::percent_encode(consumer_secret) + "&" + http::percent_encode(token_secret);
  const std::string base = signature_base(request, url, parameters);
  const std::string wanted = method == "HMAC-SHA1" ? hmac_sha1(key, base) : hmac_sha256(key, base);
  std::string given;
  return base64_decode(oauth_value(parameters, "oauth_signature"), given) &&
         equal_constant_time(given, wanted);
}

}  // namespace virga::identity
