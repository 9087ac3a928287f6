#include "cloud/join.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/url.hpp>
#include <filesystem>

#include "base/certificate.h"
#include "base/crypto.h"
#include "base/fault.h"
#include "base/kill_point.h"
#include "base/process.h"
#include "base/scope_exit.h"
#include "base/sealing.h"
#include "base/text.h"
#include "cloud/engines.h"
#include "cloud/purge.h"
#include "cloud/serve.h"
#include "cloud/tls.h"
#include "controllers/api.h"
#include "host/api.h"
#include "http/api.h"
#include "http/peer.h"

namespace virga::cloud {
namespace {

/// What differs from the default was set for this machine.
template <class T>
void keep_own(T& to, const T& own, const T& by_default) {
  if (own != by_default) to = own;
}

constexpr std::chrono::milliseconds kTimeout{10'000};
constexpr std::string_view kApiCa = "api-ca";  ///< what is sealed
constexpr const char* kJoining = ".joining";  ///< beside the controller's folder, until it has its configuration

bool is_there(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

/// The address of ours from which packets to the URL's host leave. Nothing is sent.
std::string own_address(const std::string& url) {
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed || parsed->scheme() != "https" || parsed->host_address().empty())
    throw Fault(FaultKind::bad_request, fmt::format("{} is no URL of a controller.", url), "It reads https://ADDRESS:5000.");
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  const std::string host(parsed->host_address());
  if (getaddrinfo(host.c_str(), "5000", &hints, &found) != 0)
    throw Fault(FaultKind::not_found, fmt::format("{} is not known as a host.", host));
  const ScopeExit free_found([&] { freeaddrinfo(found); });
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const ScopeExit closing([fd] { close(fd); });
  sockaddr_in mine{};
  socklen_t size = sizeof mine;
  if (connect(fd, found->ai_addr, found->ai_addrlen) != 0 || getsockname(fd, reinterpret_cast<sockaddr*>(&mine), &size) != 0)
    throw Fault(FaultKind::unavailable, fmt::format("There is no route to {}.", host));
  char text[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, &mine.sin_addr, text, sizeof text);
  return text;
}

/// Files of a join that goes on where it was broken off.
struct Attempt {
  explicit Attempt(const Config& config) : dir(Paths(config).host_identity) {}
  std::string dir;
  std::string request = dir + "/request.pem", key = dir + "/request.key", controller = dir + "/controller.pem";

  CertificateRequest certificate_request(const std::string& name) const {
    if (is_there(request) && is_there(key)) return {read_file(request), read_file(key)};
    const CertificateRequest made = make_certificate_request(name);
    std::filesystem::create_directories(dir);
    std::filesystem::permissions(dir, std::filesystem::perms::owner_all);
    write_file(key, made.key, 0600);
    write_file(request, made.request, 0600);
    return made;
  }
  void forget() const {
    for (const auto& file : {request, key, controller}) unlink(file.c_str());
  }
};

/// Writes the certificate that the controller shows, if it is of the key that the token names: whom to trust for the one
/// request that follows.
void trust_controller(const Attempt& attempt, const std::string& url, const JoinToken& token) {
  const std::string shown = http::shown_certificate(url, kTimeout);
  if (key_fingerprint(read_certificates(shown, url).front()) != token.key_fingerprint)
    throw Fault(FaultKind::forbidden, fmt::format("{} shows another key than the token names.", url),
                "The token is of another controller, or somebody stands between. Nothing was sent.");
  std::filesystem::create_directories(attempt.dir);
  write_file(attempt.controller, shown, 0600);
}

json::object ask(const Attempt& attempt, const std::string& url, const std::string& path, const json::object& body) {
  http::ClientRequest request;
  request.method = "POST";
  request.url = url + path;
  request.headers.set("Content-Type", "application/json");
  request.body = json::serialize(body);
  request.ca_file = attempt.controller;
  request.timeout = kTimeout;
  const http::Response response = http::fetch(request);
  const json::value answer = parse_json(response.body);
  if (response.status != 201 && response.status != 200) {
    const json::object* error = answer.is_object() ? find_object(answer.get_object(), "error") : nullptr;
    throw Fault(static_cast<FaultKind>(response.status), error ? find_string(*error, "message") : response.body);
  }
  return answer.as_object();
}

void take_over_api_ca(const Config& config, const JoinToken& token, const std::string& sealed) {
  const auto opened = unseal(sha256(token.sealing_key), sealed, kApiCa);
  if (!opened)
    throw Fault(FaultKind::bad_request, "What the controller has for this machine cannot be opened with this token.",
                "Copy the whole line that `virga token create --controller` prints.");
  const json::value ca = parse_json(*opened);
  adopt_api_ca(config, {find_string(ca.as_object(), "certificate"), find_string(ca.as_object(), "key")});
}

void refuse_others(const Config& base, const JoinRequest& request) {
  const Paths paths(base);
  if (base.has_control() && is_there(paths.control) && !is_there(paths.control + kJoining))
    throw Fault(FaultKind::conflict, "This machine is a controller with a cloud of its own.",
                "`virga down --purge` removes that cloud, with everything in it.");
  if (!base.has_control() && has_joined(base))
    throw Fault(FaultKind::conflict, fmt::format("This machine is a host of the cloud at {} already.", base.hosts.controllers.front()),
                fmt::format("`virga up` starts it. To become one of the cloud at {}: virga leave", request.url));
}

}  // namespace

std::string to_text(const JoinToken& token) {
  return token.secret + "." + token.key_fingerprint + (token.sealing_key.empty() ? "" : "." + token.sealing_key);
}

JoinToken parse_join_token(const std::string& text) {
  std::vector<std::string> parts = split(text, '.');
  parts.resize(std::max<size_t>(parts.size(), 3));
  const JoinToken token{parts[0], parts[1], parts[2]};
  if (parts.size() > 3 || token.secret.empty() || token.key_fingerprint.size() != 64 ||
      token.key_fingerprint.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw Fault(FaultKind::bad_request, "That is no token.", "Copy the whole line that `virga token create` prints.");
  return token;
}

std::string sealed_api_ca(const Config& config, const std::string& sealing_key) {
  const auto ca = api_ca(config);
  if (!ca) return "";
  return seal(sha256(sealing_key), json::serialize(json::object{{"certificate", ca->certificate}, {"key", ca->key}}), kApiCa);
}

std::string url_with_port(const std::string& url) {
  const auto parsed = boost::urls::parse_uri(url);
  return parsed && !parsed->has_port() ? fmt::format("{}://{}:5000", std::string(parsed->scheme()), std::string(parsed->encoded_host())) : url;
}

bool is_member(const Config& config, const std::string& url) {
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed || !(has_joined(config) || config.cloud.role == "controller") || is_there(Paths(config).control + kJoining)) return false;
  const std::string host(parsed->host_address());
  return std::any_of(config.hosts.controllers.begin(), config.hosts.controllers.end(),
                     [&](const std::string& link) { return link.substr(0, link.rfind(':')) == host; });
}

bool has_joined(const Config& config) {
  return is_there(Paths(config).host_identity + "/host.pem");
}

json::object agent_status(const Config& config) {
  const std::string file = Paths(config).agent_status;
  if (!is_there(file)) return {};
  const json::value status = parse_json(read_file(file));
  return status.is_object() ? status.get_object() : json::object();
}

Config join(const Config& base, const JoinRequest& request) {
  const JoinToken token = parse_join_token(request.token);
  refuse_others(base, request);
  Config config = base;
  config.cloud.role = "compute";
  config.network.mode = "host";
  config.demo.enabled = false;
  config.network.encap_ip = request.address.empty() ? own_address(request.url) : request.address;
  if (!request.name.empty()) config.compute.host_name = request.name;
  if (!request.underlay_interface.empty()) config.network.underlay_interface = request.underlay_interface;
  config.network.external_interface = request.external_interface;
  // Without a way of its own to the external network a host leaves that to those that have one.
  if (request.external_interface.empty()) config.network.bridge_mappings.clear();

  const std::string hostname = compute_host_name(config);
  claim_directories(config);
  const Attempt attempt(config);
  const CertificateRequest own = attempt.certificate_request(hostname);
  trust_controller(attempt, request.url, token);
  kill_point("join.key");
  const json::object answer = ask(attempt, request.url, "/enrolment/v1/hosts",
                                  {{"host",
                                    {{"token", token.secret},
                                     {"hostname", hostname},
                                     {"address", config.network.encap_ip},
                                     {"certificate_request", own.request}}}});
  kill_point("join.answered");
  config.hosts.southbound_port = static_cast<int>(find_int(answer, "southbound_port"));
  config.hosts.controllers.clear();
  for (const auto& one : *find_array(answer, "controllers")) config.hosts.controllers.push_back(str(one));
  check_config(config, "The configuration of a host");
  write_file(Paths(config).agent_state + "/host_id", find_string(*find_object(answer, "host"), "id") + "\n", 0600);
  host::write_credentials(attempt.dir, {find_string(answer, "ca"), find_string(answer, "certificate"), own.key});
  kill_point("join.enrolled");
  attempt.forget();
  return config;
}

Config join_as_controller(const Config& base, const JoinRequest& request) {
  const JoinToken token = parse_join_token(request.token);
  refuse_others(base, request);
  const Paths paths(base);
  claim_directories(base);
  std::filesystem::create_directories(paths.control);
  std::filesystem::permissions(paths.control, std::filesystem::perms::owner_all);
  Config named = base;
  if (!request.name.empty()) named.compute.host_name = request.name;
  const std::string name = compute_host_name(named), address = request.address.empty() ? own_address(request.url) : request.address;
  const Attempt attempt(base);
  trust_controller(attempt, request.url, token);
  // It stands aside until all is there: a controller of its own would take the folder for one that is set up.
  const std::string id_file = paths.control + kJoining;
  const json::object answer = ask(attempt, request.url, "/enrolment/v1/controllers",
                                  {{"controller", {{"token", token.secret}, {"name", name}, {"id", controllers::controller_id(id_file)}}}});
  kill_point("join.controller_answered");
  const Config none;
  Config config = parse_config(find_string(answer, "config"), "The controller's configuration");
  config.cloud.state_dir = base.cloud.state_dir, config.cloud.run_dir = base.cloud.run_dir, config.cloud.log_dir = base.cloud.log_dir;
  config.cloud.package_cache = base.cloud.package_cache, config.cloud.user = base.cloud.user;
  keep_own(config.cloud.api_port, base.cloud.api_port, none.cloud.api_port);
  keep_own(config.cloud.alias_ports, base.cloud.alias_ports, none.cloud.alias_ports);
  keep_own(config.api.metrics_port, base.api.metrics_port, none.api.metrics_port);
  keep_own(config.hosts.link_port, base.hosts.link_port, none.hosts.link_port);
  if (config.cloud.api_address != "0.0.0.0") config.cloud.api_address = address;
  config.hosts.address = config.network.encap_ip = address;
  config.compute.host_name = named.compute.host_name;
  config.hosts.controllers.clear();
  for (const auto& one : *find_array(answer, "controllers")) config.hosts.controllers.push_back(str(one));
  check_config(config, "The configuration of a controller");
  if (const std::string sealed = find_string(answer, "sealed"); !sealed.empty()) take_over_api_ca(config, token, sealed);
  write_file(paths.master_key, find_string(answer, "master_key"), 0600);
  kill_point("join.controller_keyed");
  write_file(paths.controller_id, read_file(id_file), 0600);
  attempt.forget();
  return config;
}

void joined_as_controller(const Config& config) { unlink((Paths(config).control + kJoining).c_str()); }

}  // namespace virga::cloud
