#pragma once
// The one error type of Virga. Thrown anywhere, rendered once, in each service's own body format.

#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace virga {

/// What went wrong, in HTTP's terms: the value is the status code a service answers with.
enum class FaultKind {
  multiple_choices = 300,
  bad_request = 400,
  unauthorized = 401,
  forbidden = 403,
  not_found = 404,
  method_not_allowed = 405,
  not_acceptable = 406,
  conflict = 409,
  gone = 410,
  length_required = 411,
  precondition_failed = 412,
  too_large = 413,
  unsupported_media = 415,
  range_not_satisfiable = 416,
  unprocessable = 422,
  too_many_requests = 429,
  internal = 500,
  not_implemented = 501,
  bad_gateway = 502,
  unavailable = 503,
  timeout = 504,
};

/// An error with its cause and the next step for a person.
/// `message` is what OpenStack's clients show; `hint` is the next step; `type` is OpenStack's exception name
/// where a client reads one (neutron's "PortInUse", for example); `headers` go into the answer (Retry-After).
class Fault : public std::exception {
 public:
  Fault(FaultKind kind, std::string message, std::string hint = {}, std::string type = {})
      : kind(kind), message(std::move(message)), hint(std::move(hint)), type(std::move(type)) {}

  const char* what() const noexcept override { return message.c_str(); }
  int status() const { return static_cast<int>(kind); }

  FaultKind kind;
  std::string message;
  std::string hint;
  std::string type;
  std::vector<std::pair<std::string, std::string>> headers;
};

}  // namespace virga
