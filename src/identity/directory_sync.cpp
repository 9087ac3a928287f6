#include "identity/directory_sync.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "base/log.h"
#include "identity/domain_config.h"
#include "identity/faults.h"
#include "identity/login.h"

namespace virga::identity {
namespace {

using Ids = std::set<std::string>;

/// Rows made to say what the directory says. Run dry first: then it only finds out whether there is anything
/// to change.
class Sync {
 public:
  Sync(db::Tx& tx, std::string domain_id, Time now, bool dry)
      : tx_(tx), domain_id_(std::move(domain_id)), now_(now), dry_(dry) {}
  bool changed() const { return changed_; }

  std::string user(const DirectoryUser& u) {
    const std::string id = entry("user", u.local_id, u.dn);
    const auto old = find_user(tx_, id);
    UserRow row = old ? *old : UserRow{.id = id, .domain_id = domain_id_};
    if (old && row.name == u.name && row.enabled == u.enabled && row.extra == u.extra &&
        row.default_project_id == u.default_project_id)
      return id;
    if (!write()) return id;
    free_name("identity_users", u.name, id);
    if (row.enabled && !u.enabled) ++row.generation;
    row.name = u.name;
    row.enabled = u.enabled;
    row.extra = u.extra;
    row.default_project_id = u.default_project_id;
    if (old)
      save_user(tx_, row);
    else
      insert_user(tx_, row, now_);
    return id;
  }

  std::string group(const DirectoryGroup& g) {
    const std::string id = entry("group", g.local_id, g.dn);
    const auto old = tx_.first("SELECT name, description, extra FROM identity_groups WHERE id = ?", id);
    if (old && old->text(0) == g.name && old->text(1) == g.description && read_json(old->text(2)) == g.extra)
      return id;
    if (!write()) return id;
    free_name("identity_groups", g.name, id);
    if (old)
      tx_.exec("UPDATE identity_groups SET name = ?, description = ?, extra = ? WHERE id = ?", g.name,
               g.description, json::serialize(g.extra), id);
    else
      tx_.exec("INSERT INTO identity_groups (id, domain_id, name, description, extra) VALUES (?, ?, ?, ?, ?)",
               id, domain_id_, g.name, g.description, json::serialize(g.extra));
    return id;
  }

  /// Who is in a group.
  void members(const std::string& group_id, const Ids& wanted) {
    join("group_id", "user_id", group_id, wanted,
         ids("SELECT user_id FROM identity_memberships WHERE group_id = ?", group_id));
  }
  /// Which of the directory's groups a user is in.
  void groups_of(const std::string& user_id, const Ids& wanted) {
    join("user_id", "group_id", user_id, wanted,
         ids("SELECT m.group_id FROM identity_memberships m JOIN identity_directory_entries d ON d.public_id "
             "= "
             "m.group_id WHERE m.user_id = ?",
             user_id));
  }

  /// Everything of that kind but these is gone from the directory.
  void only(std::string_view kind, const Ids& present) {
    for (const auto& id : ids("SELECT public_id FROM identity_directory_entries WHERE domain_id = ? AND "
                              "present = 1 AND kind = ?",
                              domain_id_, kind))
      if (!present.contains(id)) gone(kind, id);
  }
  /// Keeps the row, so that its roles come back with it, but lets nobody in.
  void gone(std::string_view kind, const std::string& id) {
    if (is_gone(tx_, id) || !write()) return;
    tx_.exec("UPDATE identity_directory_entries SET present = 0 WHERE public_id = ?", id);
    if (kind == "group") return members(id, {});
    groups_of(id, {});
    tx_.exec("UPDATE identity_users SET enabled = 0, auth_generation = auth_generation + 1 WHERE id = ?", id);
  }

 private:
  /// False when dry. Notes that there is something to change.
  bool write() {
    changed_ = true;
    return !dry_;
  }

  std::string entry(std::string_view kind, const std::string& local_id, const std::string& dn) {
    const std::string id = public_id(domain_id_, kind, local_id);
    const auto old = tx_.first("SELECT dn, present FROM identity_directory_entries WHERE public_id = ?", id);
    if (old && old->text(0) == dn && old->boolean(1)) return id;
    if (!write()) return id;
    if (old)
      tx_.exec("UPDATE identity_directory_entries SET dn = ?, present = 1 WHERE public_id = ?", dn, id);
    else
      tx_.exec(
          "INSERT INTO identity_directory_entries (public_id, domain_id, kind, local_id, dn, present) VALUES "
          "(?, ?, "
          "?, ?, ?, 1)",
          id, domain_id_, kind, local_id, dn);
    return id;
  }

  /// Names are unique in a domain; whoever has this one without right to it is called by his id.
  void free_name(std::string_view table, const std::string& name, const std::string& id) {
    tx_.exec(fmt::format("UPDATE {} SET name = id WHERE domain_id = ? AND name = ? AND id <> ?", table),
             domain_id_, name, id);
  }

  template <class... Args>
  Ids ids(std::string_view sql, const Args&... args) {
    Ids out;
    for (const auto& row : tx_.query(sql, args...)) out.insert(row.text(0));
    return out;
  }

  /// Application credentials that lose a role by this stay: each use is refused, until the role is back.
  void join(std::string_view fixed, std::string_view varying, const std::string& id, const Ids& wanted,
            const Ids& have) {
    for (const auto& other : wanted)
      if (!have.contains(other) && write())
        tx_.exec(fmt::format("INSERT INTO identity_memberships ({}, {}) VALUES (?, ?)", fixed, varying), id,
                 other);
    for (const auto& other : have)
      if (!wanted.contains(other) && write())
        tx_.exec(fmt::format("DELETE FROM identity_memberships WHERE {} = ? AND {} = ?", fixed, varying), id,
                 other);
  }

  db::Tx& tx_;
  const std::string domain_id_;
  const Time now_;
  const bool dry_;
  bool changed_ = false;
};

/// A write ends every cached session, so there is none if nothing changed.
template <class F>
void sync(Core& core, const std::string& domain_id, F&& work) {
  const Time now = core.clock.now();
  const bool differs = core.database.read([&](db::Tx& tx) {
    Sync dry(tx, domain_id, now, true);
    work(dry);
    return dry.changed();
  });
  if (!differs) return;
  core.change([&](db::Tx& tx) {
    get_domain(tx, domain_id);
    Sync wet(tx, domain_id, now, false);
    work(wet);
  });
}

/// Whoever logs in is not told which server it is; the log tells the operator.
template <class F>
auto ask(const std::string& domain_id, F&& f) {
  try {
    return f();
  } catch (const Fault& fault) {
    if (fault.kind != FaultKind::unavailable) throw;
    log::warn("Domain {}: {} {}", domain_id, fault.message, fault.hint);
    throw Fault(FaultKind::unavailable,
                fmt::format("The directory of domain {} is not available.", domain_id),
                "Try again later. The operator finds the cause in the controller's log.");
  }
}

std::vector<ldap::Entry> search(Core& core, const std::string& domain_id, const DirectorySettings& s,
                                const ldap::Search& search) {
  return ask(domain_id, [&] { return core.directories.search(s.connection, search); });
}

/// Names are unique in a domain here, but need not be there: of two entries the first has the name.
template <class T>
void leave_out_namesakes(const std::string& domain_id, std::vector<T>& all) {
  std::set<std::string> seen;
  std::erase_if(all, [&](const T& one) {
    const bool taken = !seen.insert(one.name).second;
    if (taken)
      log::warn("The directory of domain {} has more than one {}: {} is left out.", domain_id, one.name,
                one.dn);
    return taken;
  });
}

std::vector<DirectoryUser> search_users(Core& core, const std::string& domain_id, const DirectorySettings& s,
                                        const std::string& filter) {
  std::vector<DirectoryUser> out;
  for (const auto& entry : search(core, domain_id, s, {s.users.base, s.scope, filter, user_attributes(s)}))
    if (auto user = to_user(s, entry)) out.push_back(std::move(*user));
  if (s.enabled_group && !out.empty())
    set_enabled(*s.enabled_group, search(core, domain_id, s, enabled_search(*s.enabled_group, out)), out);
  return out;
}

std::vector<DirectoryGroup> search_groups(Core& core, const std::string& domain_id,
                                          const DirectorySettings& s, const std::string& filter) {
  std::vector<DirectoryGroup> out;
  for (const auto& entry : search(core, domain_id, s, {s.groups.base, s.scope, filter, group_attributes(s)}))
    if (auto group = to_group(s, entry)) out.push_back(std::move(*group));
  leave_out_namesakes(domain_id, out);
  return out;
}

struct Entry {
  std::string domain_id, kind, local_id;
};

std::optional<Entry> find_entry(Core& core, const std::string& id) {
  return core.database.read([&](db::Tx& tx) -> std::optional<Entry> {
    const auto row =
        tx.first("SELECT domain_id, kind, local_id FROM identity_directory_entries WHERE public_id = ?", id);
    if (!row) return std::nullopt;
    return Entry{row->text(0), row->text(1), row->text(2)};
  });
}

/// One user and his groups, as the directory has them now; false if it does not have him.
bool take_user(Core& core, const std::string& domain_id, const DirectorySettings& s,
               const std::vector<DirectoryUser>& found) {
  if (found.size() != 1) {
    if (found.size() > 1)
      log::warn("The directory of domain {} has {} users named {}: none of them may log in by it.", domain_id,
                found.size(), found.front().name);
    return false;
  }
  const DirectoryUser& user = found.front();
  const auto groups = search_groups(
      core, domain_id, s, filter_for(s.groups, s.members, s.members_are_ids ? user.local_id : user.dn));
  sync(core, domain_id, [&](Sync& to) {
    const std::string id = to.user(user);
    Ids in;
    for (const auto& g : groups) in.insert(to.group(g));
    to.groups_of(id, in);
  });
  return true;
}

/// Public ids of a group's members that are users of the directory.
Ids member_ids(const std::string& domain_id, const DirectorySettings& s, const DirectoryGroup& group,
               const std::map<std::string, std::string>& local_id_of_dn, const Ids& known) {
  Ids out;
  for (const auto& member : group.members) {
    const auto found = local_id_of_dn.find(ldap::normal_dn(member));
    const std::string local_id = s.members_are_ids               ? member
                                 : found != local_id_of_dn.end() ? found->second
                                                                 : "";
    const std::string id = public_id(domain_id, "user", local_id);
    if (known.contains(id)) out.insert(id);
  }
  return out;
}

/// Whom the directory lets in is not put to sleep for not having come for long: nobody could wake him here.
UserRow awake(Core& core, const std::string& id) {
  const auto read = [&] { return core.database.read([&](db::Tx& tx) { return find_user(tx, id); }); };
  auto row = read();
  if (!row || !row->enabled) refuse_authentication();
  if (is_enabled(core, *row)) return *row;
  core.database.write([&](db::Tx& tx) { wake_user(tx, id, core.clock.now()); });
  row = read();
  if (!row) refuse_authentication();
  return *row;
}

}  // namespace

std::optional<DirectorySettings> directory_of(db::Tx& tx, const std::string& domain_id) {
  if (domain_id.empty() || domain_id == "default") return std::nullopt;
  return read_directory_settings(full_domain_config(tx, domain_id));
}

void refresh_domain(Core& core, const std::string& domain_id) {
  if (domain_id.empty() || domain_id == "default") return;
  const auto s = core.database.read([&](db::Tx& tx) { return directory_of(tx, domain_id); });
  if (!s) return;
  auto users = search_users(core, domain_id, *s, s->users.filter);
  leave_out_namesakes(domain_id, users);
  const auto groups = search_groups(core, domain_id, *s, s->groups.filter);
  std::map<std::string, std::string> local_id_of_dn;
  for (const auto& u : users) local_id_of_dn[ldap::normal_dn(u.dn)] = u.local_id;
  sync(core, domain_id, [&](Sync& to) {
    Ids user_ids, group_ids;
    for (const auto& u : users) user_ids.insert(to.user(u));
    to.only("user", user_ids);
    for (const auto& g : groups) {
      const std::string id = to.group(g);
      to.members(id, member_ids(domain_id, *s, g, local_id_of_dn, user_ids));
      group_ids.insert(id);
    }
    to.only("group", group_ids);
  });
}

void refresh_user(Core& core, const std::string& user_id) {
  const auto entry = find_entry(core, user_id);
  if (!entry || entry->kind != "user") return;
  const std::string& domain_id = entry->domain_id;
  const auto s = core.database.read([&](db::Tx& tx) { return directory_of(tx, domain_id); });
  if (!s) return;
  const auto found = search_users(core, domain_id, *s, filter_for(s->users, s->users.id, entry->local_id));
  if (!take_user(core, domain_id, *s, found))
    sync(core, domain_id, [&](Sync& to) { to.gone("user", user_id); });
}

void refresh_group(Core& core, const std::string& group_id) {
  const auto entry = find_entry(core, group_id);
  // Its members are other entries, which must be known too.
  if (entry && entry->kind == "group") refresh_domain(core, entry->domain_id);
}

UserRow directory_login(Core& core, const std::string& domain_id, const DirectorySettings& s,
                        const std::string& user_id, const std::string& name, const std::string& password) {
  const auto entry = user_id.empty() ? std::nullopt : find_entry(core, user_id);
  std::vector<DirectoryUser> found;
  if (entry && entry->kind == "user" && entry->domain_id == domain_id)
    found = search_users(core, domain_id, s, filter_for(s.users, s.users.id, entry->local_id));
  else if (user_id.empty())
    found = search_users(core, domain_id, s, filter_for(s.users, s.users.name, name));
  // Somebody who is not there costs a refused bind as well.
  const bool known = found.size() == 1;
  const std::string dn = known ? found.front().dn : fmt::format("cn={},{}", new_hex_id(), s.users.base);
  const bool right =
      ask(domain_id, [&] { return core.directories.check_password(s.connection, dn, password); });
  if (!right || !take_user(core, domain_id, s, found)) refuse_authentication();
  return awake(core, public_id(domain_id, "user", found.front().local_id));
}

void refresh_listed(Core& core, const api::Call& call) {
  const std::string& own = call.caller().domain_id;
  refresh_domain(core, own.empty() ? call.request.query_value("domain_id").value_or("") : own);
}

void refuse_directory_write(Core& core, const std::string& domain_id) {
  if (core.database.read([&](db::Tx& tx) { return directory_of(tx, domain_id); }))
    throw Fault(FaultKind::forbidden, "LDAP does not support write operations",
                "The users and groups of this domain live in its directory: change them there.");
}

bool is_gone(db::Tx& tx, const std::string& id) {
  return tx.first("SELECT 1 FROM identity_directory_entries WHERE public_id = ? AND present = 0", id)
      .has_value();
}

std::string present_in_directory(std::string_view table) {
  return fmt::format(
      "NOT EXISTS (SELECT 1 FROM identity_directory_entries d WHERE d.public_id = {}.id AND d.present = 0)",
      table);
}

}  // namespace virga::identity
