#pragma once
// Plain types to protobuf and back. What comes from the other side is checked here: sizes, enum values, ids.

#include <functional>

#include "link/agent.pb.h"
#include "link/api.h"

namespace virga::link {

constexpr int kMajor = 1;
constexpr size_t kPieceSize = 256 << 10;  ///< of images, disks and what goes through tunnels
constexpr int kMinor = kLinkMinor;
constexpr size_t kMaxMessage = 16 << 20;  ///< one message on the wire
constexpr size_t kPart = 1 << 20;  ///< an assignment or observation is cut into messages of about this size
constexpr size_t kMaxWhole = 256 << 20;  ///< of one assignment or observation put together again
constexpr char kSessionKey[] = "virga-session";

v1::Hello to_wire(const HostFacts& facts);
HostFacts from_wire(const v1::Hello& hello);

/// Cut into messages that fit; all but the last say `more`.
std::vector<v1::Assignment> to_wire(const Assignment& assignment);
/// Adds one part to `whole`. Throws Fault(bad_request) if a server in it makes no sense.
void append(Assignment& whole, const v1::Assignment& part);

std::vector<v1::Observation> to_wire(bool full, const std::vector<ObservedServer>& servers,
                                     const std::vector<ActionReport>& actions);
struct Observation {
  bool full = false;
  std::vector<ObservedServer> servers;
  std::vector<ActionReport> actions;
};
void append(Observation& whole, const v1::Observation& part);

/// Bounded: a host's words go into memory and onto terminals.
std::vector<std::string> problems_of(const v1::Heartbeat& heartbeat);

v1::MetadataRequest to_wire(const MetadataRequest& request);
MetadataRequest from_wire(const v1::MetadataRequest& request);

}  // namespace virga::link
