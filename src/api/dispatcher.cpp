#include "api/dispatcher.h"

#include <fmt/format.h>

#include <map>

#include "api/access_rules.h"
#include "base/log.h"
#include "base/text.h"

namespace virga::api {
namespace {

std::vector<std::string_view> segments_of(std::string_view path) {
  std::vector<std::string_view> out;
  for (size_t from = 0; from < path.size();) {
    if (path[from] == '/') {
      ++from;
      continue;
    }
    const size_t to = std::min(path.find('/', from), path.size());
    out.push_back(path.substr(from, to - from));
    from = to;
  }
  return out;
}

bool starts_with_path(std::string_view path, std::string_view prefix) {
  return path.substr(0, prefix.size()) == prefix && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

using Params = std::vector<std::pair<std::string_view, std::string>>;

}  // namespace

/// Routes by path segment: literal segments win over parameters.
class Dispatcher::Tree {
 public:
  void add(const Route& route) {
    Tree* node = this;
    for (std::string_view part : segments_of(route.path)) {
      if (part.size() > 4 && part.front() == '{' && part.substr(part.size() - 4) == "...}") {
        node->rest_.push_back({&route, part.substr(1, part.size() - 5)});
        return;
      }
      auto& child = part.front() == '{' ? node->parameter_ : node->literal_[std::string(part)];
      if (!child) child = std::make_unique<Tree>();
      node = child.get();
    }
    node->routes_.push_back(&route);
  }

  /// All routes of that path (one per method and version range), with the parameters' values.
  bool find(const std::vector<std::string_view>& parts, size_t at, std::vector<std::string_view>& values,
            std::vector<const Route*>& found) const {
    if (at == parts.size() && !routes_.empty()) {
      found = routes_;
      return true;
    }
    if (at < parts.size()) {
      if (const auto it = literal_.find(parts[at]); it != literal_.end() && it->second->find(parts, at + 1, values, found)) return true;
      if (parameter_) {
        values.push_back(parts[at]);
        if (parameter_->find(parts, at + 1, values, found)) return true;
        values.pop_back();
      }
    }
    for (const auto& [route, name] : rest_) found.push_back(route);
    if (rest_.empty()) return false;
    const char* end = parts.empty() ? "" : parts.back().data() + parts.back().size();
    values.push_back(at < parts.size() ? std::string_view(parts[at].data(), static_cast<size_t>(end - parts[at].data())) : std::string_view());
    return true;
  }

 private:
  std::map<std::string, std::unique_ptr<Tree>, std::less<>> literal_;
  std::unique_ptr<Tree> parameter_;
  std::vector<std::pair<const Route*, std::string_view>> rest_;
  std::vector<const Route*> routes_;
};

struct Dispatcher::Mounted {
  Service* service;
  Tree tree;
};

struct Dispatcher::Found {
  Service* service = nullptr;
  std::string_view root;               ///< "/identity", or "" when reached through a bare path
  std::vector<const Route*> candidates;
  std::vector<std::string> values;
};

Dispatcher::Dispatcher(DispatcherOptions options, Policy& policy, Authenticator& authenticator)
    : options_(std::move(options)), policy_(policy), authenticator_(authenticator), conventions_(options_.conventions) {}
Dispatcher::~Dispatcher() = default;

void Dispatcher::mount(Service& service) {
  services_.push_back(&service);
  auto mounted = std::make_unique<Mounted>();
  mounted->service = &service;
  policy_.declare(service.name, service.rules);
  for (Route& route : service.routes) {
    mounted->tree.add(route);
    if (route.policy.empty()) continue;
    const auto rule = policy_.find(route.policy, service.name);
    if (!rule)
      throw Fault(FaultKind::internal, fmt::format("{} {} has the policy {}, which {} does not declare.", route.method.text, route.path.text, route.policy.text, service.name));
    route.rule = *rule;
  }
  mounted_.push_back(std::move(mounted));
  conventions_.mounted(service);
}

Dispatcher::Found Dispatcher::find(const http::Request& request) const {
  Found found;
  const auto look = [&](const Mounted& m, std::string_view root) {
    found.service = m.service;
    found.root = root;
    const std::string_view below = std::string_view(request.path).substr(root.size());
    std::vector<std::string_view> values;
    m.tree.find(segments_of(below), 0, values, found.candidates);
    found.values.assign(values.begin(), values.end());
  };
  for (const auto& m : mounted_)
    if (starts_with_path(request.path, m->service->prefix)) {
      look(*m, m->service->prefix);
      return found;
    }
  for (const auto& m : mounted_)
    for (const auto& bare : m->service->bare)
      if (starts_with_path(request.path, bare)) {
        look(*m, "");
        return found;
      }
  return found;
}

http::BodyMode Dispatcher::body_mode(const http::Request& head) {
  const Found found = find(head);
  for (const Route* r : found.candidates)
    if (r->method == std::string_view(head.method)) return r->body;
  return http::BodyMode::buffered;
}

std::string Dispatcher::cloud_url(const http::Request& request) const {
  if (!options_.public_url.empty()) return options_.public_url;
  std::string host(request.headers.get("Host"));
  const bool odd = host.empty() || host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") != std::string::npos;
  return (request.tls ? "https://" : "http://") + (odd ? "127.0.0.1:5000" : host);
}

namespace {

/// The version a request asks for. Throws Fault(not_acceptable) with the range, Fault(bad_request) if it is no version.
Version negotiate(const Microversions& m, const http::Request& request) {
  std::string_view asked;
  std::string_view header = request.headers.get("OpenStack-API-Version");
  while (!header.empty()) {
    const size_t comma = std::min(header.find(','), header.size());
    std::string_view one = header.substr(0, comma);
    header.remove_prefix(std::min(comma + 1, header.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    const size_t space = one.find(' ');
    if (space != std::string_view::npos && one.substr(0, space) == m.service_type) asked = one.substr(space + 1);
  }
  if (asked.empty() && !m.legacy_header.empty()) asked = request.headers.get(m.legacy_header);
  if (asked.empty()) return m.min;
  if (asked == "latest") return m.max;
  const auto version = parse_version(asked);
  if (!version)
    throw Fault(FaultKind::bad_request,
                fmt::format("API Version String {} is of invalid format. Must be of format MajorNum.MinorNum.", asked));
  if (*version < m.min || *version > m.max)
    throw Fault(FaultKind::not_acceptable,
                fmt::format("Version {} is not supported by the API. Minimum is {} and maximum is {}.", version->str(), m.min.str(), m.max.str()));
  return *version;
}

bool known_in(const Route& route, Version version) {
  return (route.min == Version{} || version >= route.min) && (route.max == Version{} || version <= route.max);
}

/// For the Allow field. HEAD goes wherever GET does.
std::string methods_of(const std::vector<const Route*>& candidates) {
  std::string methods;
  const auto add = [&](std::string_view method) {
    for (const std::string& known : split_words(methods, ','))
      if (known.substr(known.front() == ' ') == method) return;
    methods += (methods.empty() ? "" : ", ") + std::string(method);
  };
  for (const Route* r : candidates) {
    add(r->method);
    if (r->method == "GET") add("HEAD");
  }
  return methods;
}

const Route& choose(const std::vector<const Route*>& candidates, const std::string& method, Version version) {
  const Route* other_version = nullptr;
  const std::string_view wanted = method == "HEAD" ? "GET" : std::string_view(method);
  for (const Route* r : candidates) {
    if ((r->method == std::string_view(method) || r->method == wanted) && known_in(*r, version)) {
      if (r->method == std::string_view(method)) return *r;
      // HEAD: an own row first, else the GET row
      bool own = false;
      for (const Route* o : candidates) own |= o->method == std::string_view(method) && known_in(*o, version);
      if (!own) return *r;
      continue;
    }
    if (r->method == wanted) other_version = r;
  }
  if (candidates.empty() || other_version) throw Fault(FaultKind::not_found, "The resource could not be found.", "", "HTTPNotFound");
  Fault fault(FaultKind::method_not_allowed, fmt::format("The method {} is not allowed for this resource.", method));
  fault.headers.emplace_back("Allow", methods_of(candidates));
  throw fault;
}

/// The names in a route's path, in order.
std::vector<std::string_view> parameter_names(std::string_view path) {
  std::vector<std::string_view> names;
  for (std::string_view part : segments_of(path))
    if (part.front() == '{') {
      part = part.substr(1, part.size() - 2);
      if (part.size() > 3 && part.substr(part.size() - 3) == "...") part.remove_suffix(3);
      names.push_back(part);
    }
  return names;
}

Fault unauthorized(const Call& call) {
  Fault fault(FaultKind::unauthorized, "The request you have made requires authentication.");
  fault.headers.emplace_back("WWW-Authenticate", fmt::format("Keystone uri=\"{}/identity\"", call.cloud_url));
  return fault;
}

Target own_target(const Caller& caller) { return {{"project_id", caller.project_id}, {"user_id", caller.user_id}}; }

/// The caller, with what an operator's own context_is_admin says of it.
std::shared_ptr<const Caller> with_admin(const RuleTable& rules, const Caller& caller) {
  auto told = std::make_shared<Caller>(caller);
  told->admin = rules.find("context_is_admin", "")->holds(caller, own_target(caller));
  return told;
}

}  // namespace

/// A rule whose default looks at no target is asked here; the others need the handler, with the target in hand.
void Dispatcher::ask_policy(const Route& route, Call& call) {
  if (!call.maybe_caller) throw unauthorized(call);
  if (call.rules().admin_overridden) call.maybe_caller = with_admin(call.rules(), *call.maybe_caller);
  const PolicyRule& rule = call.rules()[route.rule];
  if (route.chooses_policy || rule.targets) return;
  // What the default does not ask for, an operator's rule may: keystone's target is the path (see Call::allows), the
  // others' the caller.
  const bool own = rule.overridden && call.style_ != FaultStyle::keystone;
  call.require(own ? own_target(*call.maybe_caller) : Target{});
}

http::Response Dispatcher::answer(Found& found, Call& call, Answering& answering) {
  Service& service = *found.service;
  if (!service.enabled) {
    Fault fault(FaultKind::unavailable, fmt::format("The {} service is stopped.", service.name),
                fmt::format("An operator starts it with `virga service start {}`; queued work goes on then.", service.name));
    fault.headers.emplace_back("Retry-After", "5");
    throw fault;
  }
  const std::string_view token = call.request.headers.get("X-Auth-Token");
  if (!token.empty()) call.maybe_caller = answering.facts.caller = authenticator_.authenticate(token);
  conventions_.limit(answering.facts);
  if (service.microversions) answering.version = call.version = negotiate(*service.microversions, call.request);
  // nova knows no path with a slash at its end but the version documents': "/servers/" + an empty id is not the list.
  if ((service.faults == FaultStyle::nova || service.faults == FaultStyle::glance) && call.request.path.back() == '/' && !found.candidates.empty() && !found.candidates.front()->policy.empty())
    throw Fault(FaultKind::not_found, "The resource could not be found.", "", "HTTPNotFound");
  const Route& route = choose(found.candidates, call.request.method, call.version);
  call.route_ = &route;
  const auto names = parameter_names(route.path);
  for (size_t i = 0; i < names.size() && i < found.values.size(); ++i) call.params_.emplace_back(names[i], found.values[i]);

  conventions_.routed(answering.facts, route, found.values, call.request);
  if (call.maybe_caller && !call.maybe_caller->access_rules.empty() &&
      !rules_allow(call.maybe_caller->access_rules, service.type, call.request.method, call.request.path,
                   std::string_view(call.request.path).substr(found.root.size())))
    call.maybe_caller = nullptr;  // to this request the token says nothing
  if (!route.policy.empty()) ask_policy(route, call);
  http::Response response = route.handler(call);
  if (!route.policy.empty() && !call.checked_)
    throw Fault(FaultKind::internal, fmt::format("The handler of {} {} did not check its policy {}.", route.method.text, route.path.text, route.policy.text));
  return response;
}

http::Response Dispatcher::root_document(const Call& call) const {
  json::array services;
  for (const Service* s : services_)
    services.push_back(json::object{{"name", s->name}, {"type", s->type}, {"title", s->title}, {"url", call.cloud_url + s->prefix + "/"}});
  return reply(200, json::object{{"cloud", "virga"}, {"services", std::move(services)}});
}

void Dispatcher::handle(http::Request request, std::shared_ptr<http::Responder> responder) {
  Found found = find(request);
  const std::shared_ptr<Answering> answering = conventions_.begin(request, found.service, std::move(responder));
  Call call;
  call.request = std::move(request);
  call.request_id = answering->facts.request_id;
  call.cloud_url = cloud_url(call.request);
  call.base_url = call.cloud_url + std::string(found.root);
  call.policy_ = &policy_;
  if (found.service) call.service_ = found.service->name;
  call.style_ = answering->style();
  call.responder_ = answering;
  const FaultStyle style = answering->style();
  http::Response response;
  try {
    conventions_.check_encoding(call.request);
    if (call.request.method == "OPTIONS") {
      response = conventions_.options_answer(call.request, methods_of(found.candidates));
    } else if (found.service) {
      response = answer(found, call, *answering);
    } else {
      conventions_.limit(answering->facts);
      if (call.request.path != "/") throw Fault(FaultKind::not_found, fmt::format("Nothing is served at {}.", call.request.path), "The services stand at /.");
      response = root_document(call);
    }
  } catch (const Fault& fault) {
    if (fault.status() >= 500) log::error("{} {} {}: {}", call.request_id, call.request.method, call.request.path, fault.message);
    // Errors of the token check have keystone's form whichever service asked (keystonemiddleware).
    const bool token_fault = fault.kind == FaultKind::unauthorized;
    response = render_fault(fault, token_fault ? FaultStyle::keystone : style, call.request_id);
  } catch (const std::exception& error) {
    log::error("{} {} {}: {}", call.request_id, call.request.method, call.request.path, error.what());
    response = render_fault(Fault(FaultKind::internal, "An unexpected error prevented the server from fulfilling your request.",
                                  fmt::format("The log has the cause under {}.", call.request_id)),
                            style, call.request_id);
  }
  if (!call.deferred_) answering->send(std::move(response));
}

http::Response Dispatcher::refused(const http::Request& head, int status, std::string_view message) {
  const std::shared_ptr<Answering> answering = conventions_.begin(head, find(head).service, nullptr);
  Fault fault(static_cast<FaultKind>(status), std::string(message));
  if (status == 503) fault.headers.emplace_back("Retry-After", "1");
  return answering->complete(render_fault(fault, answering->style(), answering->facts.request_id));
}

}  // namespace virga::api
