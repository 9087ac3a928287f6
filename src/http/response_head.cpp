#include "http/response_head.h"

#include <strings.h>

#include <ctime>
#include <iterator>

#include "base/json.h"

namespace virga::http {
namespace {

/// The Date field's text, made once a second and thread.
std::string_view http_date() {
  thread_local time_t made_at = 0;
  thread_local char text[40];
  thread_local size_t length = 0;
  time_t now = ::time(nullptr);
  if (now != made_at) {
    // Not strftime: its names follow the locale.
    static constexpr const char* days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static constexpr const char* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    tm t{};
    ::gmtime_r(&now, &t);
    auto end = fmt::format_to_n(text, sizeof text, "{}, {:02} {} {} {:02}:{:02}:{:02} GMT", days[t.tm_wday], t.tm_mday,
                                months[t.tm_mon], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    length = end.size;
    made_at = now;
  }
  return {text, length};
}

bool is_framing(const std::string& name) {
  switch (name.size()) {
    case 4: return ::strcasecmp(name.c_str(), "date") == 0;
    case 6: return ::strcasecmp(name.c_str(), "server") == 0;
    case 10: return ::strcasecmp(name.c_str(), "connection") == 0;
    case 14: return ::strcasecmp(name.c_str(), "content-length") == 0;
    case 17: return ::strcasecmp(name.c_str(), "transfer-encoding") == 0;
    default: return false;
  }
}

/// A line break in a value would let its author write further fields (response splitting).
void append_clean(std::string& out, std::string_view text) {
  if (text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos) {
    out += text;
    return;
  }
  for (char c : text) out += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
}

}  // namespace

std::string make_head(const Response& response, const Framing& framing) {
  std::string out;
  out.reserve(512);
  auto at = std::back_inserter(out);
  fmt::format_to(at, "HTTP/1.1 {} ", response.status);
  out += reason_phrase(response.status);
  out += "\r\nDate: ";
  out += http_date();
  out += "\r\nServer: virga\r\n";
  for (const auto& [name, value] : response.headers.all()) {
    if (is_framing(name)) continue;
    append_clean(out, name);
    out += ": ";
    append_clean(out, value);
    out += "\r\n";
  }
  if (framing.content_length) fmt::format_to(at, "Content-Length: {}\r\n", *framing.content_length);
  if (framing.chunked) out += "Transfer-Encoding: chunked\r\n";
  if (!framing.keep_alive)
    out += "Connection: close\r\n";
  else if (framing.http10)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
  return out;
}

Response refusal(int status, std::string_view message) {
  Response response;
  response.status = status;
  response.headers.add("Content-Type", "application/json");
  if (status == 503) response.headers.add("Retry-After", "1");
  response.body = json::serialize(json::object{
      {"error", {{"code", status}, {"title", reason_phrase(status)}, {"message", message}}}});
  return response;
}

Response Handler::refused(const Request&, int status, std::string_view message) { return refusal(status, message); }

std::string_view reason_phrase(int status) {
  switch (status) {
    case 101: return "Switching Protocols";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Request Entity Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Entity";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Unknown";
  }
}

}  // namespace virga::http
