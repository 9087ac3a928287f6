#include "identity/directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/crypto.h"
#include "base/text.h"
#include "identity/domain_config.h"

namespace virga::identity {
namespace {

/// Options of the group "ldap", with keystone's defaults. Numbers and booleans may be given as text, as in
/// its files.
class LdapOptions {
 public:
  explicit LdapOptions(const json::object& given) : given_(given) {}

  std::string text(std::string_view name) const {
    const json::value v = value(name);
    return v.is_string() ? str(v) : v.is_null() ? "" : json::serialize(v);
  }
  bool flag(std::string_view name) const {
    std::string word = text(name);
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return word == "true" || word == "1" || word == "yes" || word == "on";
  }
  int64_t number(std::string_view name) const {
    const std::string word = text(name);
    int64_t n = 0;
    std::from_chars(word.data(), word.data() + word.size(), n);
    return n;
  }
  /// A list, or a text with commas.
  std::vector<std::string> list(std::string_view name) const {
    const json::value v = value(name);
    if (!v.is_array()) return split_words(text(name), ',');
    std::vector<std::string> out;
    for (const auto& item : v.get_array())
      if (item.is_string()) out.push_back(str(item));
    return out;
  }

 private:
  json::value value(std::string_view name) const {
    if (const auto* v = given_.if_contains(name)) return *v;
    const ConfigOption* option = find_config_option("ldap", name);
    return option ? option->fallback : json::value(nullptr);
  }
  const json::object& given_;
};

std::chrono::seconds seconds(const LdapOptions& o, std::string_view name, int64_t fallback, int64_t most) {
  const int64_t given = o.number(name);
  return std::chrono::seconds(given > 0 ? std::min(given, most) : fallback);
}

size_t count(const LdapOptions& o, std::string_view name, int64_t most) {
  return static_cast<size_t>(std::clamp<int64_t>(o.number(name), 1, most));
}

ldap::Options read_connection(const LdapOptions& o) {
  ldap::Options c;
  c.url = fmt::format("{}", fmt::join(split_words(o.text("url"), ','), " "));
  c.user = o.text("user");
  c.password = o.text("password");
  c.start_tls = o.flag("use_tls");
  c.ca_file = o.text("tls_cacertfile");
  c.ca_dir = o.text("tls_cacertdir");
  c.require_certificate = o.text("tls_req_cert");
  c.dereference = o.text("alias_dereferencing");
  c.chase_referrals = o.flag("chase_referrals");
  c.page_size = static_cast<int>(std::clamp<int64_t>(o.number("page_size"), 0, 10'000));
  c.timeout = seconds(o, "pool_connection_timeout", c.timeout.count(), 30);
  c.searches = {.keep = o.flag("use_pool"),
                .at_once = count(o, "pool_size", 16),
                .lifetime = seconds(o, "pool_connection_lifetime", 600, 86'400)};
  c.logins = {.keep = o.flag("use_auth_pool"),
              .at_once = count(o, "auth_pool_size", 16),
              .lifetime = seconds(o, "auth_pool_connection_lifetime", 60, 86'400)};
  return c;
}

/// "(objectClass=x)(id=*)" and the operator's filter, all of them.
DirectoryTree read_tree(const LdapOptions& o, const std::string& kind, std::string_view unit) {
  DirectoryTree t;
  t.base = o.text(kind + "_tree_dn");
  if (t.base.empty()) t.base = fmt::format("ou={},{}", unit, o.text("suffix"));
  t.id = o.text(kind + "_id_attribute");
  t.name = o.text(kind + "_name_attribute");
  t.description = o.text(kind == "user" ? "user_description_attribute" : "group_desc_attribute");
  t.filter = fmt::format("(&{}(objectClass={})({}=*))", o.text(kind + "_filter"),
                         o.text(kind + "_objectclass"), t.id);
  return t;
}

/// "theirs:ours", several.
DirectorySettings::Mapping read_mapping(const LdapOptions& o, std::string_view name) {
  DirectorySettings::Mapping out;
  for (const auto& pair : o.list(name))
    if (const size_t colon = pair.find(':'); colon != std::string::npos)
      out.emplace_back(pair.substr(0, colon), pair.substr(colon + 1));
  return out;
}

DirectorySettings::EnabledGroup read_enabled_group(const LdapOptions& o, const std::string& users_base) {
  DirectorySettings::EnabledGroup g{
      .dn = o.text("user_enabled_emulation_dn"), .object_class = "groupOfNames", .members = "member"};
  if (g.dn.empty()) g.dn = "cn=enabled_users," + users_base;
  if (!o.flag("user_enabled_emulation_use_group_config")) return g;
  g.object_class = o.text("group_objectclass");
  g.members = o.text("group_member_attribute");
  g.members_are_ids = o.flag("group_members_are_ids");
  return g;
}

const std::string& member_name(const DirectorySettings::EnabledGroup& group, const DirectoryUser& user) {
  return group.members_are_ids ? user.local_id : user.dn;
}

bool to_bool(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text == "true";
}

bool is_enabled(const DirectorySettings& s, const ldap::Entry& entry) {
  if (s.enabled.empty()) return true;
  const auto& given = entry.all(s.enabled);
  const std::string value = given.empty() ? s.enabled_default : given.front();
  if (s.enabled_mask != 0) {
    int64_t bits = 0;
    std::from_chars(value.data(), value.data() + value.size(), bits);
    return (bits & s.enabled_mask) != s.enabled_mask;
  }
  return to_bool(value) != s.enabled_invert;
}

constexpr size_t kLongestId = 64, kLongestKey = 255;  ///< of the columns

bool is_key(const std::string& text) {
  return !text.empty() && text.size() <= kLongestKey && ldap::is_text(text);
}

void add_extra(json::object& to, std::string_view ours, const ldap::Entry& entry, const std::string& theirs) {
  if (theirs.empty() || entry.all(theirs).empty()) return;
  if (const std::string value = entry.first(theirs); ldap::is_text(value)) to[ours] = value;
}

void add_name(std::vector<std::string>& to, const std::string& name) {
  if (!name.empty() && std::find(to.begin(), to.end(), name) == to.end()) to.push_back(name);
}

}  // namespace

std::optional<DirectorySettings> read_directory_settings(const json::object& config) {
  const json::object* identity = find_object(config, "identity");
  if (!identity || find_string(*identity, "driver") != "ldap") return std::nullopt;
  static const json::object none;
  const json::object* given = find_object(config, "ldap");
  const LdapOptions o(given ? *given : none);
  DirectorySettings s;
  s.connection = read_connection(o);
  s.scope = o.text("query_scope") == "sub" ? ldap::Scope::subtree : ldap::Scope::one;
  s.users = read_tree(o, "user", "Users");
  s.groups = read_tree(o, "group", "UserGroups");
  const auto ignored = o.list("user_attribute_ignore");
  const auto unless_ignored = [&](std::string_view ours, std::string attribute) {
    return std::find(ignored.begin(), ignored.end(), ours) == ignored.end() ? attribute : std::string();
  };
  s.mail = unless_ignored("email", o.text("user_mail_attribute"));
  s.enabled = unless_ignored("enabled", o.text("user_enabled_attribute"));
  s.default_project = unless_ignored("default_project_id", o.text("user_default_project_id_attribute"));
  s.users.description = unless_ignored("description", s.users.description);
  s.enabled_default = o.text("user_enabled_default");
  s.enabled_mask = o.number("user_enabled_mask");
  s.enabled_invert = o.flag("user_enabled_invert");
  if (o.flag("user_enabled_emulation")) {
    s.enabled_group = read_enabled_group(o, s.users.base);
    s.enabled.clear();
  }
  s.members = o.text("group_member_attribute");
  s.members_are_ids = o.flag("group_members_are_ids");
  const auto groups_ignore = o.list("group_attribute_ignore");
  if (std::find(groups_ignore.begin(), groups_ignore.end(), "description") != groups_ignore.end())
    s.groups.description.clear();
  s.more_of_users = read_mapping(o, "user_additional_attribute_mapping");
  s.more_of_groups = read_mapping(o, "group_additional_attribute_mapping");
  return s;
}

std::vector<std::string> user_attributes(const DirectorySettings& s) {
  std::vector<std::string> out;
  for (const auto* name :
       {&s.users.id, &s.users.name, &s.users.description, &s.mail, &s.enabled, &s.default_project})
    add_name(out, *name);
  for (const auto& [theirs, ours] : s.more_of_users) add_name(out, theirs);
  return out;
}

std::vector<std::string> group_attributes(const DirectorySettings& s) {
  std::vector<std::string> out;
  for (const auto* name : {&s.groups.id, &s.groups.name, &s.groups.description, &s.members})
    add_name(out, *name);
  for (const auto& [theirs, ours] : s.more_of_groups) add_name(out, theirs);
  return out;
}

std::optional<DirectoryUser> to_user(const DirectorySettings& s, const ldap::Entry& entry) {
  DirectoryUser u{.local_id = entry.first(s.users.id), .dn = entry.dn, .name = entry.first(s.users.name)};
  if (!is_key(u.local_id) || !is_key(u.name) || !ldap::is_text(u.dn)) return std::nullopt;
  u.enabled = is_enabled(s, entry);
  if (const std::string id = entry.first(s.default_project); id.size() <= kLongestId && ldap::is_text(id))
    u.default_project_id = id;
  add_extra(u.extra, "email", entry, s.mail);
  add_extra(u.extra, "description", entry, s.users.description);
  for (const auto& [theirs, ours] : s.more_of_users) add_extra(u.extra, ours, entry, theirs);
  return u;
}

std::optional<DirectoryGroup> to_group(const DirectorySettings& s, const ldap::Entry& entry) {
  DirectoryGroup g{.local_id = entry.first(s.groups.id),
                   .dn = entry.dn,
                   .name = entry.first(s.groups.name),
                   .description = entry.first(s.groups.description),
                   .members = entry.all(s.members)};
  if (!is_key(g.local_id) || !is_key(g.name) || !ldap::is_text(g.dn)) return std::nullopt;
  if (!ldap::is_text(g.description)) g.description.clear();
  for (const auto& [theirs, ours] : s.more_of_groups) add_extra(g.extra, ours, entry, theirs);
  return g;
}

ldap::Search enabled_search(const DirectorySettings::EnabledGroup& group,
                            const std::vector<DirectoryUser>& users) {
  std::string filter = fmt::format("(objectClass={})", group.object_class);
  if (users.size() == 1)
    filter = fmt::format("(&{}({}={}))", filter, group.members,
                         ldap::escape_filter(member_name(group, users.front())));
  return {.base = group.dn, .scope = ldap::Scope::base, .filter = filter, .attributes = {group.members}};
}

void set_enabled(const DirectorySettings::EnabledGroup& group, const std::vector<ldap::Entry>& answer,
                 std::vector<DirectoryUser>& users) {
  const auto form = [&](const std::string& name) {
    return group.members_are_ids ? name : ldap::normal_dn(name);
  };
  std::set<std::string> members;
  for (const auto& entry : answer)
    for (const auto& member : entry.all(group.members)) members.insert(form(member));
  for (auto& user : users) user.enabled = members.contains(form(member_name(group, user)));
}

std::string filter_for(const DirectoryTree& tree, std::string_view attribute, std::string_view value) {
  return fmt::format("(&{}({}={}))", tree.filter, attribute, ldap::escape_filter(value));
}

std::string public_id(std::string_view domain_id, std::string_view kind, std::string_view local_id) {
  return to_hex(sha256(fmt::format("{}{}{}", domain_id, kind, local_id)));
}

}  // namespace virga::identity
