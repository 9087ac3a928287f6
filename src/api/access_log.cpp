#include "api/access_log.h"

#include <fmt/format.h>

#include "api/service.h"

namespace virga::api {
namespace {

constexpr size_t kMaxPath = 1024, kMaxAgent = 256;
/// Longer parts of a path are cut: an id has at most 64 characters, a token that came into a path by mistake has more.
constexpr size_t kMaxPart = 64, kPartKept = 32;

std::string with_short_parts(std::string_view path) {
  std::string out;
  out.reserve(path.size());
  while (true) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, end);
    out += part.size() > kMaxPart ? part.substr(0, kPartKept) : part;
    if (part.size() > kMaxPart) out += "...";
    if (end == path.size()) return out;
    out += '/';
    path.remove_prefix(end + 1);
  }
}

}  // namespace

std::string loggable_path(const RequestFacts& facts) {
  if (facts.route && facts.route->path.text.find("token}") != std::string::npos)
    return facts.service->prefix + facts.route->path.text;
  return with_short_parts(std::string_view(facts.path).substr(0, kMaxPath));
}

std::string access_line(const RequestFacts& facts) {
  std::string out;
  out.reserve(512);
  out += "{\"time\":\"";
  out += to_iso_us(facts.at);
  out += '"';
  append_foreign_member(out, "request_id", facts.request_id);
  if (!facts.global_request_id.empty()) append_foreign_member(out, "global_request_id", facts.global_request_id);
  append_foreign_member(out, "client", facts.client);
  append_foreign_member(out, "method", std::string_view(facts.method).substr(0, 32));
  append_foreign_member(out, "path", loggable_path(facts));
  fmt::format_to(std::back_inserter(out), ",\"status\":{},\"bytes\":{},\"duration_us\":{}", facts.status,
                 facts.bytes, facts.duration.count());
  if (facts.service) append_foreign_member(out, "service", facts.service->name);
  if (facts.route) append_foreign_member(out, "route", facts.route->path.text);
  if (facts.caller) {
    append_foreign_member(out, "user_id", facts.caller->user_id);
    if (!facts.caller->project_id.empty()) append_foreign_member(out, "project_id", facts.caller->project_id);
  }
  if (!facts.agent.empty()) append_foreign_member(out, "agent", std::string_view(facts.agent).substr(0, kMaxAgent));
  out += '}';
  return out;
}

void AccessLog::finished(const RequestFacts& facts) {
  log_.write(access_line(facts));
}

}  // namespace virga::api
