#pragma once
// One connection to a directory server, over libldap.
//
// Threads: belongs to one at a time.

#include <ldap.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ldap/api.h"

namespace virga::ldap {

/// LDAP said no.
struct Failure : std::runtime_error {
  Failure(const std::string& what, int code);
  /// The connection is broken: the server closed it, say.
  bool broken() const;
  int code;
};

class Connection {
 public:
  /// Connects as nobody, with TLS if the options ask for it. (Without TLS, libldap connects when it is first
  /// used.) Throws Failure.
  explicit Connection(const Options& options);

  /// LDAP's result code. Throws Failure if there is none, because the server is gone or silent.
  int bind(const std::string& dn, const std::string& password);
  /// Throws Failure.
  std::vector<Entry> search(const Search& search);

 private:
  struct Unbind {
    void operator()(LDAP* handle) const { ldap_unbind_ext_s(handle, nullptr, nullptr); }
  };
  using Steady = std::chrono::steady_clock;

  void set(int option, const void* value);
  void set_tls();
  bool search_page(const Search& search, Steady::time_point end, berval& cookie, std::vector<Entry>& out);
  void read_entries(LDAPMessage* answer, const Search& search, std::vector<Entry>& out);
  void read_cookie(LDAPMessage* answer, berval& cookie);

  const Options options_;
  std::unique_ptr<LDAP, Unbind> handle_;
};

}  // namespace virga::ldap
