#include "identity/ec2_signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/crypto.h"
#include "base/text.h"

namespace virga::identity {
namespace {

constexpr std::string_view kVersion4 = "AWS4-HMAC-SHA256";

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::tolower(c); });
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return std::toupper(c); });
  return out;
}

std::string trim(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front()))) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return std::string(text);
}

/// RFC 3986: everything but the unreserved characters.
std::string quote(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto b = static_cast<unsigned char>(c);
    if ((b < 0x80 && std::isalnum(b)) || c == '-' || c == '_' || c == '.' || c == '~')
      out += c;
    else
      out += fmt::format("%{:02X}", b);
  }
  return out;
}

std::string canonical_query(const std::map<std::string, std::string>& params) {
  std::string out;
  for (const auto& [name, value] : params)
    out += fmt::format("{}{}={}", out.empty() ? "" : "&", quote(name), quote(value));
  return out;
}

const std::string* find(const std::map<std::string, std::string>& in, const std::string& key) {
  const auto found = in.find(key);
  return found == in.end() ? nullptr : &found->second;
}

std::string version2(const SignedRequest& r, const std::string& secret) {
  auto params = r.params;
  params["SignatureMethod"] = "HmacSHA256";
  return base64_encode(
      hmac_sha256(secret, fmt::format("{}\n{}\n{}\n{}", r.verb, r.host, r.path, canonical_query(params))));
}

/// "Credential", "SignedHeaders": from the Authorization field, or else a query parameter.
std::optional<std::string> auth_part(const SignedRequest& r, const std::string& name) {
  if (const auto* field = find(r.headers, "Authorization")) {
    const size_t at = field->find(name + "=");
    if (at == std::string::npos) return std::nullopt;
    const size_t from = at + name.size() + 1;
    return field->substr(from, std::min(field->find(',', from), field->size()) - from);
  }
  const auto* param = find(r.params, "X-Amz-" + name);
  return param ? std::optional(*param) : std::nullopt;
}

std::string canonical_headers(const SignedRequest& r, const std::string& signed_names) {
  std::map<std::string, std::string> by_name;
  for (const auto& [name, value] : r.headers) by_name[lower(trim(name))] = trim(value);
  std::vector<std::string> lines;
  for (const auto& name : split(signed_names, ';'))
    if (const auto* value = find(by_name, name)) lines.push_back(fmt::format("{}:{}", name, *value));
  std::string out;
  for (const auto& line : lines) out += (out.empty() ? "" : "\n") + line;
  return out + "\n";
}

std::string version4_key(const std::string& secret, std::string_view date, std::string_view region,
                         std::string_view service) {
  const std::string of_service =
      hmac_sha256(hmac_sha256(hmac_sha256("AWS4" + secret, date), region), service);
  return hmac_sha256(of_service, "aws4_request");
}

std::optional<std::string> version4(const SignedRequest& r, const std::string& secret) {
  const auto credential = auth_part(r, "Credential"), signed_names = auth_part(r, "SignedHeaders");
  const auto* date = find(r.headers, "X-Amz-Date");
  if (!date) date = find(r.params, "X-Amz-Date");
  if (!credential || !signed_names || !date) return std::nullopt;
  // ACCESS/DATE/REGION/SERVICE/aws4_request
  const auto parts = split(trim(*credential), '/');
  if (parts.size() < 5 || parts[1].empty() || date->rfind(parts[1], 0) != 0) return std::nullopt;
  const std::string scope = trim(*credential).substr(parts[0].size() + 1);
  const std::string query = upper(r.verb) == "POST" ? "" : canonical_query(r.params);
  const std::string request = fmt::format("{}\n{}\n{}\n{}\n{}\n{}", upper(r.verb), r.path, query,
                                          canonical_headers(r, *signed_names), *signed_names, r.body_hash);
  const std::string to_sign = fmt::format("{}\n{}\n{}\n{}", kVersion4, *date, scope, to_hex(sha256(request)));
  return to_hex(hmac_sha256(version4_key(secret, parts[1], parts[2], parts[3]), to_sign));
}

bool is_version4(const SignedRequest& r) {
  if (const auto* field = find(r.headers, "Authorization")) return field->rfind(kVersion4, 0) == 0;
  const auto* algorithm = find(r.params, "X-Amz-Algorithm");
  return algorithm && *algorithm == kVersion4;
}

}  // namespace

std::optional<std::string> ec2_signature(const SignedRequest& r, const std::string& secret) {
  const auto* version = find(r.params, "SignatureVersion");
  if (version && *version == "2") return version2(r, secret);
  if (!version && is_version4(r)) return version4(r, secret);
  return std::nullopt;
}

std::optional<std::string> s3_signature(std::string_view to_sign, const std::string& secret) {
  if (to_sign.substr(0, 4) != "AWS4") return base64_encode(hmac_sha1(secret, to_sign));
  const auto lines = split(to_sign, '\n');
  if (lines.size() != 4 || lines[0] != kVersion4) return std::nullopt;
  const auto scope = split(lines[2], '/');
  if (scope.size() != 4 || scope[3] != "aws4_request") return std::nullopt;
  if (scope[2] != "s3" && scope[2] != "iam" && scope[2] != "sts") return std::nullopt;
  return to_hex(hmac_sha256(version4_key(secret, scope[0], scope[1], scope[2]), to_sign));
}

std::optional<Time> signing_time(const SignedRequest& r) {
  const std::string* text = find(r.params, "Timestamp");
  if (!text || text->empty()) text = find(r.headers, "X-Amz-Date");
  if (!text || text->empty()) text = find(r.params, "X-Amz-Date");
  if (!text || text->empty()) return std::nullopt;
  // 20261123T120000Z: ISO 8601 without its marks
  const std::string& t = *text;
  if (t.size() == 16 && t[8] == 'T')
    return parse_time(fmt::format("{}-{}-{}T{}:{}:{}", t.substr(0, 4), t.substr(4, 2), t.substr(6, 2),
                                  t.substr(9, 2), t.substr(11, 2), t.substr(13)));
  return parse_time(t);
}

}  // namespace virga::identity
