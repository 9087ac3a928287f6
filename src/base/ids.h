#pragma once
// Strong identifiers: a ServerId is never a PortId, and neither is a bare string.

#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace virga {

/// An identifier of one kind of resource. Any text is allowed: OpenStack's ids are opaque to clients.
template <class Tag>
class Id {
 public:
  Id() = default;
  explicit Id(std::string value) : value_(std::move(value)) {}
  const std::string& str() const { return value_; }
  bool empty() const { return value_.empty(); }
  friend bool operator==(const Id&, const Id&) = default;
  friend auto operator<=>(const Id&, const Id&) = default;

 private:
  std::string value_;
};

using UserId = Id<struct UserTag>;
using ProjectId = Id<struct ProjectTag>;
using DomainId = Id<struct DomainTag>;
using RoleId = Id<struct RoleTag>;
using ImageId = Id<struct ImageTag>;
using ServerId = Id<struct ServerTag>;
using FlavorId = Id<struct FlavorTag>;
using NetworkId = Id<struct NetworkTag>;
using SubnetId = Id<struct SubnetTag>;
using PortId = Id<struct PortTag>;
using RouterId = Id<struct RouterTag>;
using SecurityGroupId = Id<struct SecurityGroupTag>;
using HostId = Id<struct HostTag>;
using OperationId = Id<struct OperationTag>;

/// A new random UUID (RFC 4122 version 4), 36 characters with dashes. Thread-safe.
std::string new_uuid();
/// The same as 32 hexadecimal digits without dashes, as keystone's ids are.
std::string new_hex_id();
/// True for 36 characters with dashes in the right places, or 32 hexadecimal digits.
bool looks_like_uuid(std::string_view text);

}  // namespace virga

template <class Tag>
struct std::hash<virga::Id<Tag>> {
  size_t operator()(const virga::Id<Tag>& id) const { return std::hash<std::string>()(id.str()); }
};
