#include "api/compression.h"

#include <strings.h>
#include <zlib.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace virga::api {
namespace {

constexpr size_t kWorthwhile = 1024;
constexpr int kLevel = 1;             // lists shrink to a tenth at the lowest level already
constexpr int kGzipWindow = 15 + 16;  // zlib: 32 KiB, gzip's header

std::string_view next_part(std::string_view& list, char separator) {
  const size_t end = std::min(list.find(separator), list.size());
  std::string_view part = list.substr(0, end);
  list.remove_prefix(std::min(end + 1, list.size()));
  while (!part.empty() && (part.front() == ' ' || part.front() == '\t')) part.remove_prefix(1);
  while (!part.empty() && (part.back() == ' ' || part.back() == '\t')) part.remove_suffix(1);
  return part;
}

bool is_word(std::string_view text, std::string_view word) {
  return text.size() == word.size() && strncasecmp(text.data(), word.data(), word.size()) == 0;
}

/// "0", "1", "0.5", "1.000" in thousandths; what is no weight counts as 0, so that a broken field asks for
/// nothing.
int thousandths(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return 0;
  if (text.size() > 1 && text[1] != '.') return 0;
  int value = (text[0] - '0') * 1000, scale = 100;
  for (char c : text.substr(std::min<size_t>(2, text.size()))) {
    if (c < '0' || c > '9') return 0;
    value += (c - '0') * scale;
    scale /= 10;
  }
  return value > 1000 ? 0 : value;
}

/// The weight of "gzip;q=0.5".
int weight(std::string_view parameters) {
  int q = 1000;
  while (!parameters.empty()) {
    const std::string_view one = next_part(parameters, ';');
    if (one.size() >= 2 && (one[0] == 'q' || one[0] == 'Q') && one[1] == '=') q = thousandths(one.substr(2));
  }
  return q;
}

}  // namespace

bool accepts_gzip(std::string_view field) {
  int gzip = -1, any = -1, identity = -1;
  while (!field.empty()) {
    std::string_view element = next_part(field, ',');
    const std::string_view coding = next_part(element, ';');
    int& known = is_word(coding, "gzip") || is_word(coding, "x-gzip") ? gzip
                 : is_word(coding, "identity")                        ? identity
                                                                      : any;
    if (&known == &any && coding != "*") continue;
    known = std::max(known, weight(element));
  }
  if (gzip < 0) gzip = any;
  return gzip > 0 && gzip >= identity;
}

bool may_hold_secrets(std::string_view path) {
  static constexpr std::array<std::string_view, 9> parts{
      "/auth/",  "credentials",        "/OS-EC2",   "/OS-OAUTH", "tokens",
      "console", "os-server-password", "/OS-TRUST", "/config"};
  for (std::string_view part : parts)
    if (path.find(part) != std::string_view::npos) return true;
  return false;
}

bool compressible(const http::Response& response) {
  if (response.status != 200 || response.source || response.websocket || response.body.size() <= kWorthwhile)
    return false;
  const http::Headers& h = response.headers;
  if (h.has("Content-Encoding") || h.has("ETag") || h.has("Content-Range") || h.has("X-Subject-Token"))
    return false;
  const std::string_view type = h.get("Content-Type");
  return type.rfind("text/", 0) == 0 ||
         (type.rfind("application/", 0) == 0 && type.find("json") != std::string_view::npos);
}

void compress(http::Response& response) {
  z_stream stream{};
  if (deflateInit2(&stream, kLevel, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY) != Z_OK) return;
  const std::unique_ptr<z_stream, int (*)(z_stream*)> closer(&stream, deflateEnd);
  std::string out(deflateBound(&stream, response.body.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(response.body.data());
  stream.avail_in = static_cast<uInt>(response.body.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (response.body.size() > (1u << 31) || deflate(&stream, Z_FINISH) != Z_STREAM_END ||
      stream.total_out >= response.body.size())
    return;
  out.resize(stream.total_out);
  response.body = std::move(out);
  response.headers.set("Content-Encoding", "gzip");
}

}  // namespace virga::api
