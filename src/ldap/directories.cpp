// The connections to all directories, and what bounds their use.
#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/scope_exit.h"
#include "ldap/connection.h"

namespace virga::ldap {
namespace {

using Steady = std::chrono::steady_clock;

struct Idle {
  std::unique_ptr<Connection> connection;
  Steady::time_point until;
};

/// The connections of one kind to one directory.
struct Group {
  std::deque<Idle> idle;
  size_t inside = 0, waiting = 0;
  Steady::time_point rests_until{};
  bool unused() const { return inside == 0 && waiting == 0 && idle.empty() && rests_until < Steady::now(); }
};

/// Two directories are one if they are spoken to in the same way.
std::string key_of(const Options& o, std::string_view kind) {
  return fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}", kind, o.url, o.user, o.password,
                     o.start_tls, o.ca_file, o.ca_dir, o.require_certificate, o.dereference,
                     o.chase_referrals, o.page_size);
}

[[noreturn]] void fail(const Options& options, std::string_view why) {
  throw Fault(FaultKind::unavailable, fmt::format("The directory {} does not serve: {}.", options.url, why),
              "Check the domain's configuration (ldap/url, ldap/user, ldap/password, tree DNs, TLS) and the "
              "directory server.");
}

}  // namespace

struct Directories::State {
  std::mutex mutex;
  std::condition_variable freed;
  std::map<std::string, std::shared_ptr<Group>> groups;
  size_t all_together = 0;

  std::shared_ptr<Group> group(const Options& options, std::string_view kind) {
    const std::lock_guard guard(mutex);
    const Steady::time_point now = Steady::now();
    std::erase_if(groups, [&](const auto& known) {
      std::erase_if(known.second->idle, [&](const Idle& idle) { return idle.until <= now; });
      return known.second->unused() && known.second.use_count() == 1;
    });
    auto& found = groups[key_of(options, kind)];
    if (!found) found = std::make_shared<Group>();
    return found;
  }

  /// Comes in, if need be after a wait for somebody to leave.
  void enter(Group& group, const Options& options, const Pool& pool) {
    std::unique_lock lock(mutex);
    const auto resting = [&] { return group.rests_until > Steady::now(); };
    if (resting()) fail(options, "it did not answer a moment ago");
    if (all_together >= kAllTogether || group.waiting >= pool.at_once)
      fail(options, "too many callers wait for it");
    ++all_together;
    ++group.waiting;
    const bool free =
        freed.wait_for(lock, options.timeout, [&] { return group.inside < pool.at_once || resting(); });
    --group.waiting;
    if (free && !resting()) {
      ++group.inside;
      return;
    }
    --all_together;
    fail(options, "its other callers wait for it too");
  }
  void leave(Group& group) {
    const std::lock_guard guard(mutex);
    --group.inside;
    --all_together;
    freed.notify_all();
  }
  void rest(Group& group) {
    const std::lock_guard guard(mutex);
    group.idle.clear();
    group.rests_until = Steady::now() + kRest;
    freed.notify_all();
  }

  std::unique_ptr<Connection> take(Group& group, Steady::time_point& until) {
    const std::lock_guard guard(mutex);
    if (group.idle.empty()) return nullptr;
    until = group.idle.back().until;
    auto out = std::move(group.idle.back().connection);
    group.idle.pop_back();
    return out;
  }
  void give_back(Group& group, const Pool& pool, std::unique_ptr<Connection> connection,
                 Steady::time_point until) {
    if (!pool.keep || until <= Steady::now()) return;
    const std::lock_guard guard(mutex);
    group.idle.push_back({std::move(connection), until});
  }

  template <class Make, class Use>
  auto use(Group& group, const Pool& pool, Make&& make, Use&& use) {
    Steady::time_point until;
    if (auto idle = take(group, until)) {
      try {
        auto out = use(*idle);
        give_back(group, pool, std::move(idle), until);
        return out;
      } catch (const Failure& failure) {
        // A server may close a connection that nobody uses. One that is silent is not asked twice.
        if (!failure.broken() || failure.code == LDAP_TIMEOUT) throw;
      }
    }
    until = Steady::now() + pool.lifetime;
    std::unique_ptr<Connection> fresh = make();
    auto out = use(*fresh);
    give_back(group, pool, std::move(fresh), until);
    return out;
  }

  template <class Make, class Use>
  auto run(const Options& options, std::string_view kind, const Pool& pool, Make&& make, Use&& work) {
    const auto members = group(options, kind);
    enter(*members, options, pool);
    const ScopeExit leaving([&] { leave(*members); });
    const auto begin = Steady::now();
    try {
      return use(*members, pool, make, work);
    } catch (const Failure& failure) {
      // A refused connection costs nothing; a wait does.
      if (failure.broken() && Steady::now() - begin >= options.timeout / 2) rest(*members);
      fail(options, failure.what());
    }
  }
};

Directories::Directories() : state_(std::make_unique<State>()) {}
Directories::~Directories() = default;

std::vector<Entry> Directories::search(const Options& options, const Search& search) {
  if (!options.user.empty() && options.password.empty())
    fail(options, fmt::format("the account {} has no password, which to LDAP means nobody", options.user));
  const auto bound = [&] {
    auto made = std::make_unique<Connection>(options);
    if (const int code = made->bind(options.user, options.password); code != LDAP_SUCCESS)
      throw Failure(fmt::format("It refuses the account {}", options.user), code);
    return made;
  };
  return state_->run(options, "search", options.searches, bound,
                     [&](Connection& connection) { return connection.search(search); });
}

// Connections of their own: the one who logged in last is whom such a connection is bound as.
bool Directories::check_password(const Options& options, const std::string& dn, const std::string& password) {
  if (dn.empty() || password.empty()) return false;
  const int code = state_->run(
      options, "login", options.logins, [&] { return std::make_unique<Connection>(options); },
      [&](Connection& connection) { return connection.bind(dn, password); });
  switch (code) {
    case LDAP_SUCCESS:
      return true;
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_NO_SUCH_OBJECT:
    case LDAP_INVALID_DN_SYNTAX:
    case LDAP_INAPPROPRIATE_AUTH:
    case LDAP_UNWILLING_TO_PERFORM:
    case LDAP_INSUFFICIENT_ACCESS:
    case LDAP_CONSTRAINT_VIOLATION:
      return false;
    default:
      fail(options, fmt::format("a password cannot be checked ({})", ldap_err2string(code)));
  }
}

}  // namespace virga::ldap
