#include "ldap/connection.h"

#include <fmt/format.h>
#include <sys/time.h>

#include <algorithm>
#include <optional>

#include "base/scope_exit.h"

namespace virga::ldap {
namespace {

struct FreeMessage {
  void operator()(LDAPMessage* message) const { ldap_msgfree(message); }
};
using Message = std::unique_ptr<LDAPMessage, FreeMessage>;

int certificate_rule(const std::string& name) {
  if (name == "never") return LDAP_OPT_X_TLS_NEVER;
  if (name == "allow") return LDAP_OPT_X_TLS_ALLOW;
  return LDAP_OPT_X_TLS_DEMAND;
}

/// Nullopt leaves it to libldap's own configuration.
std::optional<int> dereference_rule(const std::string& name) {
  if (name == "never") return LDAP_DEREF_NEVER;
  if (name == "searching") return LDAP_DEREF_SEARCHING;
  if (name == "finding") return LDAP_DEREF_FINDING;
  if (name == "always") return LDAP_DEREF_ALWAYS;
  return std::nullopt;
}

int scope_of(Scope scope) {
  switch (scope) {
    case Scope::base:
      return LDAP_SCOPE_BASE;
    case Scope::one:
      return LDAP_SCOPE_ONELEVEL;
    case Scope::subtree:
      return LDAP_SCOPE_SUBTREE;
  }
  return LDAP_SCOPE_BASE;
}

bool has_no_answer(int code) {
  return code == LDAP_SERVER_DOWN || code == LDAP_CONNECT_ERROR || code == LDAP_TIMEOUT;
}

}  // namespace

Failure::Failure(const std::string& what, int code)
    : std::runtime_error(fmt::format("{}: {}", what, ldap_err2string(code))), code(code) {}

bool Failure::broken() const {
  return has_no_answer(code);
}

Connection::Connection(const Options& options) : options_(options) {
  LDAP* made = nullptr;
  if (const int code = ldap_initialize(&made, options.url.c_str()); code != LDAP_SUCCESS)
    throw Failure("The URL is not understood", code);
  handle_.reset(made);
  const int version = LDAP_VERSION3;
  const timeval timeout{options.timeout.count(), 0};
  set(LDAP_OPT_PROTOCOL_VERSION, &version);
  set(LDAP_OPT_NETWORK_TIMEOUT, &timeout);
  set(LDAP_OPT_TIMEOUT, &timeout);
  set(LDAP_OPT_REFERRALS, options.chase_referrals ? LDAP_OPT_ON : LDAP_OPT_OFF);
  if (const auto rule = dereference_rule(options.dereference)) set(LDAP_OPT_DEREF, &*rule);
  if (options.start_tls || options.url.find("ldaps:") != std::string::npos) set_tls();
  if (!options.start_tls) return;
  if (const int code = ldap_start_tls_s(made, nullptr, nullptr); code != LDAP_SUCCESS)
    throw Failure("TLS does not begin", code);
}

void Connection::set(int option, const void* value) {
  if (ldap_set_option(handle_.get(), option, value) != LDAP_OPT_SUCCESS)
    throw Failure("libldap does not take a setting (of TLS, if a file cannot be read)", LDAP_PARAM_ERROR);
}

void Connection::set_tls() {
  const int rule = certificate_rule(options_.require_certificate);
  set(LDAP_OPT_X_TLS_REQUIRE_CERT, &rule);
  if (!options_.ca_file.empty()) set(LDAP_OPT_X_TLS_CACERTFILE, options_.ca_file.c_str());
  if (!options_.ca_dir.empty()) set(LDAP_OPT_X_TLS_CACERTDIR, options_.ca_dir.c_str());
  const int client = 0;
  set(LDAP_OPT_X_TLS_NEWCTX, &client);  // takes the settings above into use
}

int Connection::bind(const std::string& dn, const std::string& password) {
  berval secret{password.size(), const_cast<char*>(password.data())};
  const int code =
      ldap_sasl_bind_s(handle_.get(), dn.c_str(), LDAP_SASL_SIMPLE, &secret, nullptr, nullptr, nullptr);
  if (has_no_answer(code)) throw Failure("It does not answer", code);
  return code;
}

std::vector<Entry> Connection::search(const Search& search) {
  const auto end = Steady::now() + options_.search_timeout;
  std::vector<Entry> out;
  berval cookie{0, nullptr};
  const ScopeExit free_cookie([&] { ber_memfree(cookie.bv_val); });
  while (search_page(search, end, cookie, out)) continue;
  return out;
}

/// One page, or everything if paging is off. False if it was the last.
bool Connection::search_page(const Search& search, Steady::time_point end, berval& cookie,
                             std::vector<Entry>& out) {
  const auto left = std::chrono::ceil<std::chrono::seconds>(end - Steady::now());
  if (left.count() <= 0) throw Failure("The search takes too long", LDAP_TIMEOUT);
  std::vector<char*> names;
  for (const auto& name : search.attributes) names.push_back(const_cast<char*>(name.c_str()));
  names.push_back(nullptr);
  LDAPControl* page = nullptr;
  if (options_.page_size > 0)
    if (const int code = ldap_create_page_control(handle_.get(), options_.page_size, &cookie, 0, &page);
        code != LDAP_SUCCESS)
      throw Failure("A search cannot be paged", code);
  const ScopeExit free_page([&] {
    if (page) ldap_control_free(page);
  });
  LDAPControl* controls[] = {page, nullptr};
  timeval timeout{std::min(left, options_.timeout).count(), 0};
  LDAPMessage* raw = nullptr;
  const int code =
      ldap_search_ext_s(handle_.get(), search.base.c_str(), scope_of(search.scope), search.filter.c_str(),
                        names.data(), 0, page ? controls : nullptr, nullptr, &timeout, LDAP_NO_LIMIT, &raw);
  const Message answer(raw);
  if (code != LDAP_SUCCESS) throw Failure(fmt::format("The search below {} fails", search.base), code);
  read_entries(answer.get(), search, out);
  read_cookie(answer.get(), cookie);
  return cookie.bv_len > 0;
}

void Connection::read_entries(LDAPMessage* answer, const Search& search, std::vector<Entry>& out) {
  for (LDAPMessage* at = ldap_first_entry(handle_.get(), answer); at;
       at = ldap_next_entry(handle_.get(), at)) {
    Entry entry;
    if (char* dn = ldap_get_dn(handle_.get(), at)) {
      entry.dn = dn;
      ldap_memfree(dn);
    }
    for (const auto& name : search.attributes)
      if (berval** values = ldap_get_values_len(handle_.get(), at, name.c_str())) {
        auto& to = entry.attributes[name];
        to.clear();  // asked for twice
        for (berval** v = values; *v; ++v) to.emplace_back((*v)->bv_val, (*v)->bv_len);
        ldap_value_free_len(values);
      }
    out.push_back(std::move(entry));
  }
}

/// Where the next page begins; empty if this was the last.
void Connection::read_cookie(LDAPMessage* answer, berval& cookie) {
  ber_memfree(cookie.bv_val);
  cookie = {0, nullptr};
  LDAPControl** controls = nullptr;
  int code = 0;
  if (ldap_parse_result(handle_.get(), answer, &code, nullptr, nullptr, nullptr, &controls, 0) !=
          LDAP_SUCCESS ||
      !controls)
    return;
  const ScopeExit free_controls([&] { ldap_controls_free(controls); });
  ber_int_t estimate = 0;
  LDAPControl* page = ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, controls, nullptr);
  if (page && ldap_parse_pageresponse_control(handle_.get(), page, &estimate, &cookie) != LDAP_SUCCESS)
    throw Failure("A page's end is not understood", LDAP_DECODING_ERROR);
}

}  // namespace virga::ldap
