#pragma once
// How a machine becomes a compute host of a cloud that runs elsewhere (enrolment/api.h is the other end).
//
// What `virga token create` prints is a secret and the fingerprint of the key with which the controller's API proves
// itself. So the new machine knows whom it talks to before it has anybody to trust: a controller that shows another key
// gets nothing from it.
//
// A token that makes a controller has a third part: the key with which root of the controller that made it has sealed the API's CA
// (tls.h), so that all controllers show certificates of one. What gave up root, the one `serve` and the other, never see that CA's key.
//
// Each step is remembered before the next, so that a join that was broken off goes on when it is run again with the same
// token: the key first, then what the controller answered, then the configuration.

#include <string>

#include "base/config.h"
#include "base/json.h"

namespace virga::cloud {

struct JoinToken {
  std::string secret;
  std::string key_fingerprint;  ///< SHA-256 of the public key of the API's certificate, hexadecimal
  std::string sealing_key;      ///< of what is sealed for the machine; "": nothing is
};
std::string to_text(const JoinToken& token);
/// The URL, with the API's usual port if it names none.
std::string url_with_port(const std::string& url);
/// Throws Fault(bad_request) if the text is no token.
JoinToken parse_join_token(const std::string& text);

/// The API's CA of this machine, sealed with `sealing_key` for one that becomes a controller; "" if it has none.
std::string sealed_api_ca(const Config& config, const std::string& sealing_key);

struct JoinRequest {
  std::string url;    ///< of a controller's API: https://192.0.2.1:5000; without a port it is that one
  std::string token;  ///< as `virga token create` printed it
  std::string name;   ///< of this host; "": the machine's
  std::string address;  ///< of this host to the others; "": the one with which it reaches the controller
  std::string underlay_interface, external_interface;  ///< see Config::Network
};

/// This machine belongs to the cloud of the controller at this URL already, as a host or as a controller.
bool is_member(const Config& config, const std::string& url);

/// Enrols this machine and returns its configuration as a compute host: `base` with what follows from the answer. Throws
/// Fault(conflict) if it is a controller, or a host of another cloud; Fault(forbidden) if the controller is not the one
/// that made the token, or refuses it.
Config join(const Config& base, const JoinRequest& request);
/// Makes this machine another controller of the cloud, with a token made for that: takes over configuration and master key from
/// the controller, and returns the configuration. Of `base` what is a machine's own stays: folders, ports, names. Throws as join().
Config join_as_controller(const Config& base, const JoinRequest& request);
/// The configuration is written: from now on this machine is a controller, and joins no other.
void joined_as_controller(const Config& config);
/// This machine has been enrolled.
bool has_joined(const Config& config);
/// What the agent here says of itself (AgentStatus as JSON); empty if it has said nothing yet.
json::object agent_status(const Config& config);

}  // namespace virga::cloud
