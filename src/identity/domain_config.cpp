// /v3/domains/{id}/config: options that a domain sets for itself, and what counts where none is set.
#include "identity/domain_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "identity/routes.h"
#include "identity/view.h"

namespace virga::identity {
namespace {

/// Which part of a configuration a path names: all, a group, or one option of it.
struct Part {
  std::string group, option;
  std::string words() const {
    if (group.empty()) return "any options";
    return option.empty() ? fmt::format("group {}", group)
                          : fmt::format("option {} in group {}", option, group);
  }
};

[[noreturn]] void refuse(std::string_view reason) {
  throw Fault(FaultKind::forbidden, fmt::format("Invalid domain specific configuration: {}.", reason));
}

[[noreturn]] void missing(const Part& part, const std::string& domain_id) {
  throw Fault(FaultKind::not_found, fmt::format("Could not find {} in domain configuration for domain {}.",
                                                part.words(), domain_id));
}

void check_part(const Part& part) {
  if (part.group.empty()) return;
  const auto& all = config_options();
  if (std::none_of(all.begin(), all.end(), [&](const auto& o) { return o.group == part.group; }))
    refuse(fmt::format("Group {} is not supported for domain specific configurations", part.group));
  if (!part.option.empty() && !find_config_option(part.group, part.option))
    refuse(fmt::format("Option {} in group {} is not supported for domain specific configurations",
                       part.option, part.group));
}

void check_config(const json::object& config) {
  if (config.empty()) refuse("No options specified");
  for (const auto& [group, options] : config) {
    if (!options.is_object() || options.get_object().empty())
      refuse(fmt::format("The value of group {} specified in the config should be a dictionary of options",
                         group));
    for (const auto& [option, value] : options.get_object())
      check_part({std::string(group), std::string(option)});
  }
}

/// What the domain has set of that part. Sensitive options only if `sensitive`.
json::object read_config(db::Tx& tx, const std::string& domain_id, const Part& part, bool sensitive) {
  api::Where where;
  where.add("domain_id = ?", domain_id);
  if (!part.group.empty()) where.add("group_name = ?", part.group);
  if (!part.option.empty()) where.add("option_name = ?", part.option);
  json::object out;
  for (const auto& row : tx.query("SELECT group_name, option_name, value FROM identity_domain_config" +
                                      where.sql() + " ORDER BY group_name, option_name",
                                  where.values)) {
    const ConfigOption* option = find_config_option(row.text(0), row.text(1));
    if (!option || (option->sensitive && !sensitive)) continue;
    out.emplace(option->group, json::object()).first->value().as_object()[option->name] =
        parse_json(row.text(2));
  }
  return out;
}

/// One option stands alone in an answer, without its group.
json::object narrowed(json::object config, const Part& part) {
  if (part.option.empty() || config.empty()) return config;
  return config.at(part.group).as_object();
}

http::Response config_reply(int status, json::object config) {
  return item_reply(status, "config", std::move(config));
}

Part part_of(const api::Call& call) {
  const auto value = [&](std::string_view name) {
    const std::string* given = call.find_param(name);
    return given ? *given : std::string();
  };
  return {value("group"), value("option")};
}

void write_options(db::Tx& tx, const std::string& domain_id, const json::object& config) {
  for (const auto& [group, options] : config)
    for (const auto& [option, value] : options.get_object()) {
      tx.exec("DELETE FROM identity_domain_config WHERE domain_id = ? AND group_name = ? AND option_name = ?",
              domain_id, std::string_view(group), std::string_view(option));
      tx.exec(
          "INSERT INTO identity_domain_config (domain_id, group_name, option_name, value) VALUES (?, ?, ?, "
          "?)",
          domain_id, std::string_view(group), std::string_view(option), json::serialize(value));
    }
}

http::Response put_config(Core& core, api::Call& call) {
  const json::object& config = call.body_of("config");
  const std::string& domain_id = call.param("domain_id");
  bool existed = false;
  json::object stored;
  core.change([&](db::Tx& tx) {
    get_domain(tx, domain_id);
    check_config(config);
    existed = !read_config(tx, domain_id, {}, true).empty();
    tx.exec("DELETE FROM identity_domain_config WHERE domain_id = ?", domain_id);
    write_options(tx, domain_id, config);
    stored = read_config(tx, domain_id, {}, false);
  });
  return config_reply(existed ? 200 : 201, std::move(stored));
}

http::Response show_config(Core& core, api::Call& call) {
  const Part part = part_of(call);
  const std::string& domain_id = call.param("domain_id");
  auto config = core.database.read([&](db::Tx& tx) {
    get_domain(tx, domain_id);
    check_part(part);
    return read_config(tx, domain_id, part, false);
  });
  if (config.empty()) missing(part, domain_id);
  return config_reply(200, narrowed(std::move(config), part));
}

/// An update of a group or option names exactly that, in path and body, and changes only what is there.
void check_named(db::Tx& tx, const std::string& domain_id, const Part& part, const json::object& config) {
  if (part.group.empty()) return;
  const json::object* options = find_object(config, part.group);
  if (config.size() != 1 || !options)
    refuse(fmt::format(
        "Trying to update group {}, so that, and only that, group must be specified in the config",
        part.group));
  if (!part.option.empty() && (options->size() != 1 || !options->contains(part.option)))
    refuse(fmt::format(
        "Trying to update option {} in group {}, so that, and only that, option must be specified in the "
        "config",
        part.option, part.group));
  if (read_config(tx, domain_id, part, true).empty()) missing(part, domain_id);
}

http::Response update_config(Core& core, api::Call& call) {
  const Part part = part_of(call);
  json::object config = call.body_of("config");
  if (!part.option.empty()) config = json::object{{part.group, std::move(config)}};
  const std::string& domain_id = call.param("domain_id");
  auto stored = core.change([&](db::Tx& tx) {
    get_domain(tx, domain_id);
    check_config(config);
    check_part(part);
    check_named(tx, domain_id, part, config);
    write_options(tx, domain_id, config);
    return read_config(tx, domain_id, {}, false);
  });
  return config_reply(200, std::move(stored));
}

http::Response delete_config(Core& core, api::Call& call) {
  const Part part = part_of(call);
  const std::string& domain_id = call.param("domain_id");
  core.change([&](db::Tx& tx) {
    get_domain(tx, domain_id);
    check_part(part);
    if (!part.group.empty() && read_config(tx, domain_id, part, true).empty()) missing(part, domain_id);
    api::Where where;
    where.add("domain_id = ?", domain_id);
    if (!part.group.empty()) where.add("group_name = ?", part.group);
    if (!part.option.empty()) where.add("option_name = ?", part.option);
    tx.exec("DELETE FROM identity_domain_config" + where.sql(), where.values);
  });
  return api::reply(204);
}

http::Response show_default(Core&, api::Call& call) {
  const Part part = part_of(call);
  check_part(part);
  json::object config;
  for (const auto& o : config_options()) {
    const bool asked =
        (part.group.empty() || part.group == o.group) && (part.option.empty() || part.option == o.name);
    if (!asked) continue;
    if (o.sensitive && part.option.empty()) continue;
    if (o.sensitive)
      refuse(fmt::format("Reading the default for option {} in group {} is not supported", o.name, o.group));
    config.emplace(o.group, json::object()).first->value().as_object()[o.name] = o.fallback;
  }
  return config_reply(200, narrowed(std::move(config), part));
}

/// The password rules that everybody may read, so that a form can tell them. Only the default domain has
/// them.
http::Response show_security_compliance(Core& core, api::Call& call) {
  const Part part = {"security_compliance", part_of(call).option};
  const std::string& domain_id = call.param("domain_id");
  core.database.read([&](db::Tx& tx) { get_domain(tx, domain_id); });
  if (domain_id != "default")
    refuse(
        "Reading security compliance information for any domain other than the default domain is not allowed "
        "or supported.");
  const SecurityCompliance& rules = core.options.security;
  const auto shown = [](const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(text);
  };
  json::object options{{"password_regex", shown(rules.password_regex)},
                       {"password_regex_description", shown(rules.password_regex_description)}};
  if (part.option.empty()) return config_reply(200, {{part.group, std::move(options)}});
  const json::value* value = options.if_contains(part.option);
  if (!value)
    refuse(
        "Reading security compliance values other than password_regex and password_regex_description is not "
        "allowed.");
  return config_reply(200, {{part.option, *value}});
}

/// The group that can be read cannot be set.
http::Response refuse_security_compliance(Core&, api::Call&) {
  check_part({"security_compliance", ""});
  return api::reply(204);
}

/// Replaces each %(name)s by the sensitive option of that name. What names none stays as it is.
void substitute(std::string& text, const json::object& secrets) {
  for (size_t at = text.find("%("); at != std::string::npos;) {
    const size_t end = text.find(")s", at);
    if (end == std::string::npos) return;
    const auto* secret = secrets.if_contains(std::string_view(text).substr(at + 2, end - at - 2));
    if (!secret || !secret->is_string()) {
      at = text.find("%(", end);
      continue;
    }
    const std::string value = str(*secret);
    text.replace(at, end + 2 - at, value);
    at = text.find("%(", at + value.size());
  }
}

}  // namespace

json::object full_domain_config(db::Tx& tx, const std::string& domain_id) {
  json::object config = read_config(tx, domain_id, {}, true);
  for (auto& [group, options] : config) {
    json::object secrets;
    for (const auto& [name, value] : options.get_object())
      if (const auto* o = find_config_option(group, name); o && o->sensitive) secrets[name] = value;
    for (auto& [name, value] : options.get_object()) {
      if (!value.is_string()) continue;
      std::string text = str(value);
      substitute(text, secrets);
      value = text;
    }
  }
  return config;
}

void add_domain_config_routes(Core& core, Routes& to) {
  const auto on = [&core](auto handler) {
    return [&core, handler](api::Call& call) { return handler(core, call); };
  };
  const std::string config = "/v3/domains/{domain_id}/config";
  to.push_back({"PUT", config, "identity:create_domain_config", on(put_config)});
  for (const std::string& path : {config, config + "/{group}", config + "/{group}/{option}"}) {
    to.push_back({"GET", path, "identity:get_domain_config", on(show_config)});
    to.push_back({"PATCH", path, "identity:update_domain_config", on(update_config)});
    to.push_back({"DELETE", path, "identity:delete_domain_config", on(delete_config)});
  }
  for (const std::string& path :
       {config + "/security_compliance", config + "/security_compliance/{option}"}) {
    to.push_back({"GET", path, "identity:get_security_compliance_domain_config",
                  on(show_security_compliance)});
    to.push_back(
        {"PATCH", path, "identity:update_domain_config", on(refuse_security_compliance)});
    to.push_back(
        {"DELETE", path, "identity:delete_domain_config", on(refuse_security_compliance)});
  }
  for (std::string_view path : {"/v3/domains/config/default", "/v3/domains/config/{group}/default",
                                "/v3/domains/config/{group}/{option}/default"})
    to.push_back(
        {"GET", path, "identity:get_domain_config_default", on(show_default)});
}

}  // namespace virga::identity
