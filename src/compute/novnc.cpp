#include "compute/novnc.h"

#include <algorithm>
#include <fstream>

namespace virga::compute {
namespace {

constexpr std::streamoff kLargest = 4 << 20;

struct Kind {
  std::string_view ending, type;
};
constexpr Kind kKinds[] = {{".html", "text/html; charset=utf-8"},
                           {".js", "text/javascript; charset=utf-8"},
                           {".css", "text/css; charset=utf-8"},
                           {".json", "application/json"},
                           {".svg", "image/svg+xml"},
                           {".png", "image/png"},
                           {".mp3", "audio/mpeg"},
                           {".oga", "audio/ogg"},
                           {".ttf", "font/ttf"},
                           {".woff", "font/woff"}};

const Kind* kind_of(std::string_view file) {
  const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return file.ends_with(k.ending); });
  return kind == std::end(kKinds) ? nullptr : kind;
}

/// Names as noVNC has them: no hidden file, no way up, nothing to be decoded twice.
bool is_plain_path(std::string_view file) {
  bool first = true;  // character of a name
  for (const char c : file) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (first && !letter) return false;
    if (!letter && c != '.' && c != '-' && c != '/') return false;
    first = c == '/';
  }
  return !first;
}

std::optional<std::string> content_of(const std::vector<std::string>& folders, const std::string& file) {
  for (const auto& folder : folders) {
    std::ifstream in(folder + "/" + file, std::ios::binary | std::ios::ate);
    const std::streamoff size = in ? static_cast<std::streamoff>(in.tellg()) : -1;
    if (size < 0 || size > kLargest) continue;
    std::string content(static_cast<size_t>(size), '\0');
    if (in.seekg(0).read(content.data(), size)) return content;
  }
  return std::nullopt;
}

std::string_view host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme != std::string_view::npos) url.remove_prefix(scheme + 3);
  return url.substr(0, url.find('/'));
}

/// The page may talk to this cloud only, whatever its address says. It may stand in another page (a dashboard): without
/// a console's token there is nothing in it that could be clicked by mistake.
std::string content_policy(const Core& core, const api::Call& call) {
  std::string sockets;
  for (const std::string_view url : {std::string_view(call.cloud_url), std::string_view(core.options.console_base_url)})
    if (!url.empty()) sockets += fmt::format(" ws://{0} wss://{0}", host_of(url));
  return fmt::format(
      "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
      "font-src 'self'; media-src 'self'; connect-src 'self'{}",
      sockets);
}

constexpr std::string_view kNoClient = R"(<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Console</title></head>
<body>
<p>noVNC, which shows this console, is not installed here. On the controller, one of these brings it:</p>
<pre>virga up
apt-get install --no-install-recommends novnc</pre>
<p>Any other noVNC client can open this address, once:</p>
<p><code id="url"></code></p>
<p>The serial console needs no browser: <code>virga console SERVER</code>.</p>
<script>
const path = new URLSearchParams(location.search).get('path') || '';
document.getElementById('url').textContent =
  (location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/' + path;
</script>
</body>
</html>
)";

}  // namespace

http::Response novnc_file(const Core& core, const api::Call& call, const std::string& file) {
  const Kind* kind = is_plain_path(file) ? kind_of(file) : nullptr;
  const bool page = kind && kind->ending == ".html";
  auto content = kind ? content_of(core.options.novnc_folders, file) : std::nullopt;
  if (!content && page && file.find('/') == std::string::npos) content = kNoClient;
  if (!content) throw Fault(FaultKind::not_found, "The resource could not be found.", "", "HTTPNotFound");
  http::Response response;
  response.headers.set("Content-Type", kind->type);
  response.headers.set("X-Content-Type-Options", "nosniff");
  // A page's address holds a token.
  response.headers.set("Cache-Control", page ? "no-store" : "max-age=3600");
  if (page) {
    response.headers.set("Content-Security-Policy", content_policy(core, call));
    response.headers.set("Referrer-Policy", "no-referrer");
  }
  response.body = std::move(*content);
  return response;
}

}  // namespace virga::compute
