#include "cloud/serve_client.h"

#include "base/fault.h"
#include "cloud/serve.h"
#include "http/api.h"

namespace virga::cloud {
namespace {

/// The message in {"itemNotFound": {"message": …}}; a body of another form as it is.
std::string words_of(const std::string& body) {
  try {
    const json::value fault = parse_json(body);
    if (!fault.is_object() || fault.get_object().empty()) return body;
    const json::value& inner = fault.get_object().begin()->value();
    return inner.is_object() ? find_string(inner.get_object(), "message", body) : body;
  } catch (const Fault&) {
    return body;
  }
}

}  // namespace

std::string ask_serve_text(const Config& config, const std::string& method, const std::string& path,
                           std::chrono::seconds timeout, const std::string& body) {
  http::ClientRequest request;
  request.method = method;
  request.url = "http://serve" + path;
  request.unix_socket = Paths(config).serve_control;
  request.timeout = timeout;
  request.body = body;
  const http::Response response = http::fetch(request);
  if (response.status >= 300) throw Fault(static_cast<FaultKind>(response.status), words_of(response.body));
  return response.body;
}

json::value ask_serve(const Config& config, const std::string& method, const std::string& path,
                      std::chrono::seconds timeout, const std::string& body) {
  return parse_json(ask_serve_text(config, method, path, timeout, body));
}

}  // namespace virga::cloud
