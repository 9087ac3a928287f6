#include "api/fault_body.h"

#include <fmt/format.h>

#include "base/json.h"

namespace virga::api {
namespace {

std::string_view title_of(int status) {
  switch (status) {
    case 300: return "Multiple Choices";
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
    case 416: return "Requested Range Not Satisfiable";
    case 422: return "Unprocessable Entity";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    default: return "Internal Server Error";
  }
}

/// nova/api/openstack/wsgi.py names its faults by status code.
std::string_view nova_name(int status) {
  switch (status) {
    case 400: return "badRequest";
    case 401: return "unauthorized";
    case 403: return "forbidden";
    case 404: return "itemNotFound";
    case 405: return "badMethod";
    case 409: return "conflictingRequest";
    case 413: return "overLimit";
    case 415: return "badMediaType";
    case 429: return "overLimit";
    case 501: return "notImplemented";
    case 503: return "serviceUnavailable";
    default: return "computeFault";
  }
}

json::value body_of(const Fault& fault, const std::string& message, FaultStyle style, const std::string& request_id) {
  const int status = fault.status();
  const std::string_view title = title_of(status);
  switch (style) {
    case FaultStyle::keystone:
      return {{"error", {{"code", status}, {"message", message}, {"title", title}}}};
    case FaultStyle::nova: {
      json::object inner{{"code", status}, {"message", message}};
      for (const auto& [name, value] : fault.headers)
        if ((status == 413 || status == 429) && name == "Retry-After") inner["retryAfter"] = value;
      return json::object{{nova_name(status), std::move(inner)}};
    }
    case FaultStyle::neutron: {
      const std::string type = !fault.type.empty() ? fault.type : fmt::format("HTTP{}", status);
      return {{"NeutronError", {{"type", type}, {"message", message}, {"detail", ""}}}};
    }
    case FaultStyle::glance:
      return {{"message", message}, {"code", fmt::format("{} {}", status, title)}, {"title", title}};
    case FaultStyle::placement: {
      json::object error{{"status", status}, {"title", title}, {"detail", message}, {"request_id", request_id},
                         {"code", fault.type.empty() ? "placement.undefined_code" : fault.type}};
      return {{"errors", json::array{std::move(error)}}};
    }
  }
  return {};
}

}  // namespace

Fault policy_refusal(FaultStyle style, std::string_view rule) {
  const auto words = [&] {
    switch (style) {
      case FaultStyle::keystone: return fmt::format("You are not authorized to perform the requested action: {}.", rule);
      case FaultStyle::nova: return fmt::format("Policy doesn't allow {} to be performed.", rule);
      case FaultStyle::neutron: return fmt::format("rule:{} is disallowed by policy", rule);
      case FaultStyle::glance: return fmt::format("You are not authorized to complete {} action.", rule);
      case FaultStyle::placement: return fmt::format("Policy does not allow {} to be performed.", rule);
    }
    return std::string();
  };
  return Fault(FaultKind::forbidden, words(), "", "PolicyNotAuthorized");
}

http::Response render_fault(const Fault& fault, FaultStyle style, const std::string& request_id) {
  const std::string message = fault.hint.empty() ? fault.message : fault.message + " " + fault.hint;
  http::Response response;
  response.status = fault.status();
  response.headers.set("Content-Type", "application/json");
  for (const auto& [name, value] : fault.headers) response.headers.add(name, value);
  response.body = json::serialize(body_of(fault, message, style, request_id));
  return response;
}

}  // namespace virga::api
