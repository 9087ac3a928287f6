#pragma once
// Directories over LDAP: looked at, never written.
//
// Directories holds the connections to all of them. What a slow or dead directory can cost is bounded: each
// wait by Options::timeout, the callers inside of one directory by Pool::at_once (and as many waiting), the
// callers inside of all directories by Directories::kAllTogether; and after a wait that brought nothing, that
// directory's callers are refused at once for Directories::kRest.
//
// Throws Fault(unavailable) if the server cannot be reached, does not answer, refuses our own account, or
// answers with an error (a search base that is not there is one: nobody shall take it for an empty tree). The
// fault names server and account: it is for the log and the operator, not for somebody who logs in.
//
// Threads: thread-safe.

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fault.h"

namespace virga::ldap {

/// Connections of one kind to one directory.
struct Pool {
  bool keep = true;  ///< for the next caller
  size_t at_once = 10;
  std::chrono::seconds lifetime{600};  ///< of a connection
};

struct Options {
  std::string url;  ///< "ldap://host:389", "ldaps://…", "ldapi://…"; several, with spaces between
  std::string user, password;  ///< whom to bind as; no user = nobody
  bool start_tls = false;
  std::string ca_file, ca_dir;
  std::string require_certificate = "demand";  ///< of the server's: "demand", "allow", "never"
  std::string dereference = "default";         ///< of aliases: "always", "never", "finding", "searching"
  bool chase_referrals = false;
  int page_size = 0;                        ///< entries asked for at once; 0 = all
  std::chrono::seconds timeout{5};          ///< of one wait
  std::chrono::seconds search_timeout{30};  ///< of a search with all its pages
  Pool searches, logins{.at_once = 16, .lifetime = std::chrono::seconds(60)};
};

enum class Scope { base, one, subtree };

struct Search {
  std::string base;
  Scope scope = Scope::one;
  std::string filter;
  std::vector<std::string> attributes;  ///< asked for exactly
};

/// Attribute names as asked for; values are bytes.
struct Entry {
  std::string dn;
  std::map<std::string, std::vector<std::string>> attributes;
  /// The first value, or "".
  std::string first(const std::string& name) const;
  const std::vector<std::string>& all(const std::string& name) const;
};

class Directories {
 public:
  static constexpr size_t kAllTogether = 32;  ///< half of an HTTP server's workers
  static constexpr std::chrono::seconds kRest{10};

  Directories();
  ~Directories();

  /// The entries that match.
  std::vector<Entry> search(const Options& options, const Search& search);
  /// True if the directory takes that password for that name. An empty password is never taken (to LDAP it
  /// means nobody in particular, and always succeeds).
  bool check_password(const Options& options, const std::string& dn, const std::string& password);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A value made safe inside of a filter (RFC 4515, 3).
std::string escape_filter(std::string_view value);
/// The same name in its one form, for comparing: RFC 4514, ASCII letters small. As it is, if it is no DN.
std::string normal_dn(const std::string& dn);
/// Values are bytes: of a photo, say.
bool is_text(std::string_view value);

}  // namespace virga::ldap
