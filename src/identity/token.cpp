#include "identity/token.h"

#include "base/crypto.h"

namespace virga::identity {
namespace {

constexpr uint8_t kFirstFormat = 1;  ///< methods of one byte, no delegation
constexpr uint8_t kFormat = 2;
constexpr uint8_t kReceiptFormat = 0x52;
constexpr size_t kAudit = 16;
constexpr uint8_t kHexId = 0xFF;  ///< in place of a length: 16 bytes that read as 32 hexadecimal digits

void put_varint(std::string& out, uint64_t n) {
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  out += static_cast<char>(n);
}

void put_time(std::string& out, Time t) {
  put_varint(out, static_cast<uint64_t>(t.time_since_epoch().count()));
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// Keystone's usual ids take half their length.
void put_id(std::string& out, std::string_view id) {
  std::string packed;
  for (size_t i = 0; id.size() == 32 && i < 32; i += 2) {
    const int high = hex_digit(id[i]), low = hex_digit(id[i + 1]);
    if (high < 0 || low < 0) break;
    packed += static_cast<char>(high << 4 | low);
  }
  if (packed.size() == 16) {
    out += static_cast<char>(kHexId);
    out += packed;
  } else {
    out += static_cast<char>(id.size());
    out += id;
  }
}

/// Reads a token's bytes from front to back; `ok` turns false at the first that is not there.
struct Reader {
  std::string_view rest;
  bool ok = true;

  std::string_view take(size_t n) {
    if (n > rest.size()) {
      ok = false;
      return {};
    }
    const std::string_view out = rest.substr(0, n);
    rest.remove_prefix(n);
    return out;
  }
  uint8_t byte() {
    const auto b = take(1);
    return b.empty() ? 0 : static_cast<uint8_t>(b.front());
  }
  uint64_t varint() {
    uint64_t n = 0;
    for (int shift = 0; shift < 63; shift += 7) {
      const uint8_t b = byte();
      n |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (!(b & 0x80)) return n;
    }
    ok = false;
    return 0;
  }
  std::string id() {
    const uint8_t length = byte();
    if (length == kHexId) return to_hex(take(16));
    if (length > 64) ok = false;
    return std::string(take(ok ? length : 0));
  }
  uint16_t methods() {
    const uint64_t bits = varint();
    if (bits > 0xFFFF) ok = false;
    return static_cast<uint16_t>(bits);
  }
  Time time() { return Time(std::chrono::microseconds(static_cast<int64_t>(varint()))); }
};

}  // namespace

std::string pack(const Token& t) {
  std::string out;
  out.reserve(160);
  out += static_cast<char>(kFormat);
  put_varint(out, t.methods);
  out += static_cast<char>(t.scope);
  put_id(out, t.user_id);
  if (t.scope == Scope::project || t.scope == Scope::domain) put_id(out, t.scope_id);
  out += static_cast<char>(t.delegation);
  if (t.delegation != Delegation::none) put_id(out, t.delegation_id);
  put_time(out, t.issued);
  put_time(out, t.expires);
  put_varint(out, t.user_generation);
  put_varint(out, t.scope_generation);
  out += t.audit_id;
  out += t.parent_audit_id;
  return out;
}

std::optional<Token> unpack(std::string_view bytes) {
  Reader in{bytes};
  const uint8_t format = in.byte();
  if (format != kFormat && format != kFirstFormat) return std::nullopt;
  Token t;
  t.methods = format == kFirstFormat ? in.byte() : in.methods();
  const uint8_t scope = in.byte();
  if (scope > 3) return std::nullopt;
  t.scope = static_cast<Scope>(scope);
  t.user_id = in.id();
  if (t.scope == Scope::project || t.scope == Scope::domain) t.scope_id = in.id();
  const uint8_t delegation = format == kFirstFormat ? 0 : in.byte();
  if (delegation > 3) return std::nullopt;
  t.delegation = static_cast<Delegation>(delegation);
  if (t.delegation != Delegation::none) t.delegation_id = in.id();
  t.issued = in.time();
  t.expires = in.time();
  t.user_generation = in.varint();
  t.scope_generation = in.varint();
  t.audit_id = in.take(kAudit);
  if (in.ok && !in.rest.empty()) t.parent_audit_id = in.take(kAudit);
  if (!in.ok || !in.rest.empty() || t.user_id.empty()) return std::nullopt;
  return t;
}

std::string pack(const Receipt& r) {
  std::string out;
  out += static_cast<char>(kReceiptFormat);
  put_varint(out, r.methods);
  put_id(out, r.user_id);
  put_time(out, r.issued);
  put_time(out, r.expires);
  put_varint(out, r.user_generation);
  return out;
}

std::optional<Receipt> unpack_receipt(std::string_view bytes) {
  Reader in{bytes};
  if (in.byte() != kReceiptFormat) return std::nullopt;
  Receipt r;
  r.methods = in.methods();
  r.user_id = in.id();
  r.issued = in.time();
  r.expires = in.time();
  r.user_generation = in.varint();
  if (!in.ok || !in.rest.empty() || r.user_id.empty()) return std::nullopt;
  return r;
}

std::vector<std::string> audit_ids(const Token& token) {
  std::vector<std::string> ids{base64url_encode(token.audit_id, false)};
  if (!token.parent_audit_id.empty()) ids.push_back(base64url_encode(token.parent_audit_id, false));
  return ids;
}

}  // namespace virga::identity
