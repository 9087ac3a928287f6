#include "libvirt/migration_gate.h"

#include <libvirt/libvirt.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

#include "base/fault.h"
#include "base/log.h"
#include "base/unix_socket.h"
#include "libvirt/migration_xml.h"

namespace virga::libvirt {
namespace {

constexpr size_t kLongestMessage = 4 << 20;  // more than any domain's XML, less than libvirt's own limit
constexpr uint32_t kRemoteProgram = 0x20008086, kKeepAliveProgram = 0x6b656570;
constexpr uint32_t kCall = 0, kMessage = 2;  // virNetMessageType

/// remote_procedure
enum Procedure : uint32_t {
  kConnectOpen = 1,
  kConnectClose = 2,
  kSupportsFeature = 60,
  kAuthList = 66,
  kPrepare = 303,  // DOMAIN_MIGRATE_PREPARE3_PARAMS
  kFinish = 306,   // DOMAIN_MIGRATE_FINISH3_PARAMS
  kRegisterClose = 360,
  kUnregisterClose = 361,
};

/// A guest that comes, live or standing still, with its disk; nothing that stays, has other ways or other rules.
constexpr uint32_t kFlags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PAUSED | VIR_MIGRATE_NON_SHARED_INC |
                            VIR_MIGRATE_UNSAFE | VIR_MIGRATE_AUTO_CONVERGE;

[[noreturn]] void refuse(const std::string& why) {
  throw Fault(FaultKind::forbidden, "refused what the other host's hypervisor asks: " + why);
}

/// What "finish" says again of the way, which then is behind it.
const std::set<std::string_view> kAtTheEnd = {VIR_MIGRATE_PARAM_DEST_XML, VIR_MIGRATE_PARAM_URI, VIR_MIGRATE_PARAM_DISKS_URI};

/// XDR (RFC 4506): big-endian words of four bytes, everything padded to them.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  uint32_t word() {
    const auto b = take(4);
    const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(b[i])); };
    return byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  }
  std::string_view opaque() {
    const uint32_t size = word();
    const auto text = take(size);
    take((4 - size % 4) % 4);
    return text;
  }
  void skip(size_t size) { take(size); }

 private:
  std::string_view take(size_t size) {
    if (size > bytes_.size()) refuse("a message that ends too soon");
    const auto part = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return part;
  }
  std::string_view bytes_;
};

/// Of remote_domain_migrate_prepare3_params_args, with which remote_domain_migrate_finish3_params_args begins too.
struct Arguments {
  std::map<std::string, std::string> texts;
  uint32_t flags = 0;
};

Arguments read_arguments(Reader in) {
  Arguments arguments;
  const uint32_t count = in.word();
  if (count > 64) refuse("too many parameters");
  for (uint32_t i = 0; i < count; ++i) {
    const std::string name(in.opaque());
    switch (in.word()) {
      case VIR_TYPED_PARAM_INT:
      case VIR_TYPED_PARAM_UINT:
      case VIR_TYPED_PARAM_BOOLEAN:
        in.skip(4);
        break;
      case VIR_TYPED_PARAM_LLONG:
      case VIR_TYPED_PARAM_ULLONG:
      case VIR_TYPED_PARAM_DOUBLE:
        in.skip(8);
        break;
      case VIR_TYPED_PARAM_STRING:
        if (!arguments.texts.emplace(name, in.opaque()).second) refuse("a parameter that is there twice");
        break;
      default:
        refuse("a parameter of an unknown kind");
    }
  }
  in.opaque();  // the cookie
  arguments.flags = in.word();
  if (arguments.flags & ~kFlags) refuse(fmt::format("flags {:#x}", arguments.flags));
  return arguments;
}

}  // namespace

std::string GateKeeper::pass(std::string_view bytes) {
  waiting_.append(bytes);
  size_t whole = 0;
  while (waiting_.size() - whole >= 4) {
    const std::string_view rest = std::string_view(waiting_).substr(whole);
    const uint32_t size = Reader(rest).word();
    if (size < 28 || size > kLongestMessage) refuse("a message of an impossible length");
    if (rest.size() < size) break;
    check(rest.substr(4, size - 4));
    whole += size;
  }
  std::string passed = waiting_.substr(0, whole);
  waiting_.erase(0, whole);
  return passed;
}

void GateKeeper::check(std::string_view message) const {
  Reader in(message);
  const uint32_t program = in.word();
  in.word();  // version
  const uint32_t procedure = in.word(), type = in.word();
  in.word(), in.word();  // serial, status
  const std::string_view arguments = message.substr(24);
  if (program == kKeepAliveProgram && type == kMessage) return;
  if (program != kRemoteProgram || type != kCall) refuse(fmt::format("program {:#x}, message type {}", program, type));
  switch (procedure) {
    case kConnectOpen:
    case kConnectClose:
    case kSupportsFeature:
    case kAuthList:
    case kRegisterClose:
    case kUnregisterClose:
      return;
    case kPrepare:
      return check_prepare(arguments);
    case kFinish:
      return check_finish(arguments);
    default:
      refuse(fmt::format("procedure {}", procedure));
  }
}

void GateKeeper::check_prepare(std::string_view bytes) const {
  const Arguments arguments = read_arguments(Reader(bytes));
  const std::map<std::string, std::string> wanted{{VIR_MIGRATE_PARAM_URI, expected_.memory_uri}, {VIR_MIGRATE_PARAM_DISKS_URI, expected_.disk_uri}};
  bool described = false;
  for (const auto& [name, text] : arguments.texts) {
    if (name == VIR_MIGRATE_PARAM_DEST_XML) {
      described = true;
      if (const auto why = why_not_incoming(text, expected_.description)) refuse(fmt::format("a domain of which {}", *why));
      continue;
    }
    const auto it = wanted.find(name);
    if (it == wanted.end() || it->second != text) refuse(fmt::format("{} = {}", name, text));
  }
  if (!described) refuse("a domain that it does not describe");
  if (!arguments.texts.contains(VIR_MIGRATE_PARAM_URI)) refuse("a domain without a way");
}

void GateKeeper::check_finish(std::string_view bytes) const {
  const Arguments arguments = read_arguments(Reader(bytes));
  for (const auto& [name, text] : arguments.texts)
    if (name == VIR_MIGRATE_PARAM_DEST_NAME ? text != expected_.name : !kAtTheEnd.contains(name)) refuse(fmt::format("{} = {}", name, text));
  if (!arguments.texts.contains(VIR_MIGRATE_PARAM_DEST_NAME)) refuse("the end of an unnamed domain");
}

int open_gate(const std::string& daemon_socket, Expected expected) {
  const auto ends = socket_pair();
  int daemon = -1;
  try {
    daemon = connect_unix(daemon_socket);
  } catch (...) {
    for (const int end : ends) ::close(end);
    throw;
  }
  // Two threads of their own, which hold nothing but the sockets: one ends the other.
  std::thread([daemon, inner = ends[1], name = expected.name, keeper = GateKeeper(expected)]() mutable {
    std::thread answers([daemon, inner] {
      char buffer[16 << 10];
      for (ssize_t n; (n = ::recv(daemon, buffer, sizeof buffer, 0)) > 0;)
        if (!send_all(inner, buffer, static_cast<size_t>(n))) break;
      ::shutdown(inner, SHUT_RDWR);
    });
    try {
      char buffer[16 << 10];
      for (ssize_t n; (n = ::recv(inner, buffer, sizeof buffer, 0)) > 0;) {
        const std::string passed = keeper.pass({buffer, static_cast<size_t>(n)});
        if (!send_all(daemon, passed.data(), passed.size())) break;
      }
    } catch (const Fault& fault) {
      log::error("{}: {}", name, fault.message);
    }
    ::shutdown(daemon, SHUT_RDWR);
    answers.join();
    ::close(daemon);
    ::close(inner);
  }).detach();
  return ends[0];
}

}  // namespace virga::libvirt
