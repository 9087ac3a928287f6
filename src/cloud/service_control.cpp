#include "cloud/service_control.h"

#include <fmt/format.h>

#include <fstream>

#include "api/fault_body.h"
#include "base/json.h"
#include "base/process.h"

namespace virga::cloud {

ServiceControl::ServiceControl(std::vector<api::Service*> services, std::string memory, std::function<json::array()> problems, const api::Metrics& metrics)
    : services_(std::move(services)), memory_(std::move(memory)), problems_(std::move(problems)), metrics_(metrics) {
  std::ifstream in(memory_);
  for (std::string name; std::getline(in, name);)
    for (api::Service* s : services_)
      if (s->name == name) s->enabled = false;
}

void ServiceControl::remember() {
  std::string names;
  for (const api::Service* s : services_)
    if (!s->enabled) names += s->name + "\n";
  write_file(memory_, names);
}

http::Response ServiceControl::answer(const http::Request& request) {
  if (const auto action = actions_.find(request.method + " " + request.path); action != actions_.end())
    return api::reply(200, action->second(request));
  std::lock_guard lock(mutex_);
  if (request.method == "POST") {
    const size_t slash = request.path.find('/', 1);
    const std::string name = request.path.substr(1, slash - 1);
    const std::string verb = slash == std::string::npos ? "" : request.path.substr(slash + 1);
    for (api::Service* s : services_) {
      if (s->name != name || (verb != "start" && verb != "stop")) continue;
      s->enabled = verb == "start";
      remember();
      return api::reply(200, json::object{{"name", s->name}, {"enabled", s->enabled.load()}});
    }
    throw Fault(FaultKind::not_found, fmt::format("There is no service {} that could {}.", name, verb));
  }
  if (request.path == "/metrics") return api::metrics_page(metrics_);
  json::array out;
  for (const api::Service* s : services_) out.push_back(json::object{{"name", s->name}, {"type", s->type}, {"enabled", s->enabled.load()}});
  return api::reply(200, json::object{{"services", std::move(out)}, {"problems", problems_()}});
}

void ServiceControl::handle(http::Request request, std::shared_ptr<http::Responder> responder) {
  try {
    responder->send(answer(request));
  } catch (const Fault& fault) {
    responder->send(api::render_fault(fault, api::FaultStyle::nova, ""));
  }
}

}  // namespace virga::cloud
