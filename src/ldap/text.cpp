#include <fmt/format.h>
#include <ldap.h>

#include "base/scope_exit.h"
#include "ldap/api.h"

namespace virga::ldap {

std::string Entry::first(const std::string& name) const {
  const auto& values = all(name);
  return values.empty() ? "" : values.front();
}

const std::vector<std::string>& Entry::all(const std::string& name) const {
  static const std::vector<std::string> none;
  const auto found = attributes.find(name);
  return found == attributes.end() ? none : found->second;
}

std::string escape_filter(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '*' || c == '(' || c == ')' || c == '\\' || byte < 0x20 || byte >= 0x7f)
      out += fmt::format("\\{:02x}", byte);
    else
      out += c;
  }
  return out;
}

std::string normal_dn(const std::string& dn) {
  LDAPDN parts = nullptr;
  std::string out = dn;
  if (ldap_str2dn(dn.c_str(), &parts, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS) {
    const ScopeExit free_parts([&] { ldap_dnfree(parts); });
    char* text = nullptr;
    if (ldap_dn2str(parts, &text, LDAP_DN_FORMAT_LDAPV3) == LDAP_SUCCESS) {
      out = text;
      ldap_memfree(text);
    }
  }
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

bool is_text(std::string_view value) {
  for (size_t i = 0; i < value.size();) {
    const auto lead = static_cast<unsigned char>(value[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : (lead & 0xF0) == 0xE0       ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0 || lead == 0 || i + length > value.size()) return false;
    uint32_t point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(value[i + k]);
      if ((byte & 0xC0) != 0x80) return false;
      point = point << 6 | (byte & 0x3F);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    if (overlong || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return false;
    i += length;
  }
  return true;
}

}  // namespace virga::ldap
