#include "api/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/policy_file.h"
#include "base/config.h"
#include "base/fault.h"
#include "base/log.h"

namespace virga::api {
namespace {

constexpr std::string_view kAdminRule = "context_is_admin";

constexpr std::pair<std::string_view, Scopes> kScopes[] = {
    {"system", kSystemScope}, {"domain", kDomainScope}, {"project", kProjectScope}};

std::string_view name_of(Scopes scope) {
  for (const auto& [name, one] : kScopes)
    if (one == scope) return name;
  return "";
}

/// What is not in "system domain project"; of "", which names none, nothing.
unsigned others_than(std::string_view scopes) {
  unsigned out = 0;
  for (const auto& [name, one] : kScopes)
    if (!scopes.empty() && scopes.find(name) == std::string_view::npos) out |= one;
  return out;
}

std::string in_words(std::string_view scopes) {
  std::string out;
  for (const char c : scopes) out += c == ' ' ? std::string(" or ") : std::string(1, c);
  return out;
}

/// References that lead back to where they began. Returns the way, "" if there is none.
class CircleFinder {
 public:
  explicit CircleFinder(const RuleTable& table) : table_(table) {}

  std::string find(const std::string& name, const PolicyRule& rule) {
    const std::string key = rule.service + ' ' + name;
    if (const auto at = std::find(way_.begin(), way_.end(), key); at != way_.end()) return name;
    if (!done_.insert(key).second) return "";
    way_.push_back(key);
    std::vector<std::string> references;
    rule.check->add_references(references);
    for (const auto& next : references) {
      const PolicyRule* other = table_.find(next, rule.service);
      if (!other) continue;
      if (const std::string circle = find(next, *other); !circle.empty()) return name + " → " + circle;
    }
    way_.pop_back();
    return "";
  }

 private:
  const RuleTable& table_;
  std::set<std::string> done_;
  std::vector<std::string> way_;
};

Fault file_fault(const std::string& file, const FileRule& rule, const std::string& why,
                 std::string hint = {}) {
  return Fault(FaultKind::bad_request, fmt::format("{}:{}: rule \"{}\": {}", file, rule.line, rule.name, why),
               std::move(hint));
}

}  // namespace

struct DeclaredRule {
  std::string service, name, text, older_text, old_name, scopes;
  CheckPtr check, older;  ///< older: null if there is none
};

namespace {

/// The declared rules with what the file replaces. What is wrong with the file is found here.
class TableBuilder {
 public:
  TableBuilder(const PolicyOptions& options, const std::vector<DeclaredRule>& declared,
               const std::vector<FileRule>& file)
      : options_(options), declared_(declared), file_(file), made_(std::make_shared<RuleTable>()) {}

  std::shared_ptr<const RuleTable> build() {
    parse();
    for (const auto& d : declared_) place(d);
    for (const auto& rule : file_)
      if (!used_.count(&rule)) place_alias(rule);
    check_references();
    bind();
    mark_targets();
    return made_;
  }

 private:
  /// A file's rule where it stands in the table.
  struct Placed {
    const FileRule* from;
    std::string name, service;
  };

  void parse() {
    for (const auto& rule : file_) {
      given_.emplace(rule.name, &rule);
      try {
        checks_.emplace(&rule, parse_check(rule.check));
      } catch (const Fault& fault) {
        throw file_fault(options_.file, rule, fault.message);
      }
      std::vector<std::string> names;
      checks_.at(&rule)->add_references(names);
      referenced_.insert(names.begin(), names.end());
    }
  }

  /// What the file says for a declared rule, by its name or the one it had before; null if nothing.
  const FileRule* override_of(const DeclaredRule& d) {
    auto by = given_.find(d.name);
    const bool own = by != given_.end();
    if (!own && !d.old_name.empty()) by = given_.find(d.old_name);
    if (by == given_.end()) return nullptr;
    used_.insert(by->second);
    if (!own)
      return by->second->check == "rule:" + d.name ? nullptr
                                                   : by->second;  // a sample's pointer to the new name
    const auto [first, fresh] = first_user_.emplace(by->second, &d);
    if (!fresh && first->second->text != d.text)
      throw file_fault(
          options_.file, *by->second,
          fmt::format("{} and {} mean different things by that name.", first->second->service, d.service),
          "Give a rule of your own another name, and use it in the rules that should change.");
    return by->second;
  }

  void place(const DeclaredRule& d) {
    PolicyRule rule{d.name, d.service, d.text, d.check, d.scopes};
    if (options_.enforce_scope) rule.refused_scopes = others_than(d.scopes);
    if (const FileRule* from = override_of(d)) {
      rule.text = from->check;
      rule.check = checks_.at(from);
      rule.overridden = true;
      placed_.push_back({from, d.name, d.service});
    } else if (d.older && !options_.new_defaults && d.older_text != d.text) {
      rule.text =
          d.text.empty() || d.older_text.empty() ? "" : fmt::format("({}) or ({})", d.text, d.older_text);
      rule.check = either(d.check, d.older);
    }
    made_->rules[d.name].push_back(std::move(rule));
  }

  void place_alias(const FileRule& rule) {
    if (!referenced_.count(rule.name)) {
      std::vector<std::string> known;
      for (const auto& d : declared_) known.push_back(d.name);
      const std::string near = nearest_word(rule.name, known);
      throw file_fault(options_.file, rule,
                       near.empty() ? "there is no such rule."
                                    : fmt::format("there is no such rule; the nearest is \"{}\".", near),
                       "A name of your own must be used by another rule of the file.");
    }
    PolicyRule alias{rule.name, "", rule.check, checks_.at(&rule), ""};
    alias.overridden = true;
    made_->rules[rule.name].push_back(std::move(alias));
    placed_.push_back({&rule, rule.name, ""});
  }

  void check_references() const {
    for (const auto& [from, name, service] : placed_) {
      std::vector<std::string> names;
      checks_.at(from)->add_references(names);
      for (const auto& other : names)
        if (!made_->rules.count(other))
          throw file_fault(options_.file, *from,
                           fmt::format("it refers to rule:{}, which does not exist.", other));
      if (const std::string circle = CircleFinder(*made_).find(name, *made_->find(name, service));
          !circle.empty())
        throw file_fault(options_.file, *from, fmt::format("it leads in a circle: {}.", circle));
    }
  }

  /// From here on a rule costs no look-up by name.
  void bind() {
    for (auto& [name, rules] : made_->rules)
      for (auto& rule : rules)
        if (CheckPtr bound = rule.check->bound(*made_, rule.service)) rule.check = std::move(bound);
    for (auto& [name, rules] : made_->rules)
      for (auto& rule : rules) {
        Attributes asked;
        rule.check->add_attributes(asked);
        rule.attributes.assign(asked.names.begin(), asked.names.end());
      }
    for (const auto& d : declared_) made_->declared.push_back(made_->find(d.name, d.service));
    const PolicyRule* admin = made_->find(kAdminRule, "");
    made_->admin_overridden = admin && admin->overridden;
  }

  /// The defaults say who looks at targets, whatever a file says: the route's handler was written for them.
  void mark_targets() {
    const PolicyOptions plain;
    const auto defaults =
        file_.empty() && !options_.new_defaults
            ? made_
            : std::const_pointer_cast<RuleTable>(TableBuilder(plain, declared_, {}).build());
    for (auto& [name, rules] : made_->rules)
      for (auto& rule : rules) {
        const PolicyRule* before = defaults->find(name, rule.service);
        rule.targets = before && !before->attributes.empty();
      }
  }

  const PolicyOptions& options_;
  const std::vector<DeclaredRule>& declared_;
  const std::vector<FileRule>& file_;
  std::shared_ptr<RuleTable> made_;
  std::map<std::string_view, const FileRule*> given_;
  std::map<const FileRule*, CheckPtr> checks_;
  std::map<const FileRule*, const DeclaredRule*> first_user_;
  std::set<std::string> referenced_;
  std::set<const FileRule*> used_;
  std::vector<Placed> placed_;
};

}  // namespace

Policy::Policy(PolicyOptions options) : options_(std::move(options)), table_(std::make_shared<RuleTable>()) {}
Policy::~Policy() = default;

Policy::Table Policy::table() const {
  std::lock_guard lock(mutex_);
  return table_;
}

void Policy::swap_in(Table table) {
  std::lock_guard lock(mutex_);
  table_ = std::move(table);
}

void Policy::declare(std::string_view service, std::span<const RuleDefault> rules) {
  for (const auto& r : rules) {
    const auto same = [&](const DeclaredRule& d) { return d.service == service && d.name == r.name; };
    const auto known = std::find_if(declared_.begin(), declared_.end(), same);
    if (known != declared_.end() && known->text == r.check) continue;  // a service that is mounted again
    if (known != declared_.end())
      throw Fault(FaultKind::internal,
                  fmt::format("The policy rule {} of {} is declared twice.", r.name, service));
    DeclaredRule d{std::string(service),    std::string(r.name),
                   std::string(r.check),    std::string(r.older.value_or("")),
                   std::string(r.old_name), std::string(r.scopes),
                   parse_check(r.check),    r.older ? parse_check(*r.older) : nullptr};
    declared_.push_back(std::move(d));
  }
  swap_in(build({}));
}

void Policy::declare(std::string_view name, std::string_view check) {
  const CheckPtr parsed = parse_check(check);
  bool known = false;
  for (auto& d : declared_) {
    if (d.name != name) continue;
    d.text = check;
    d.check = parsed;
    d.older_text.clear();
    d.older = nullptr;
    known = true;
  }
  if (known) return swap_in(build({}));
  const RuleDefault one{name, check};
  declare("", std::span(&one, 1));
}

std::optional<RuleId> Policy::find(std::string_view name, std::string_view service) const {
  for (size_t i = 0; i < declared_.size(); ++i)
    if (declared_[i].name == name && declared_[i].service == service)
      return static_cast<RuleId>(static_cast<unsigned>(i));
  return std::nullopt;
}

Policy::Table Policy::build(const std::vector<FileRule>& file) const {
  return TableBuilder(options_, declared_, file).build();
}

std::optional<std::pair<std::filesystem::file_time_type, uintmax_t>> Policy::stamp() const {
  std::error_code failed;
  const auto time = std::filesystem::last_write_time(options_.file, failed);
  const auto size = failed ? 0 : std::filesystem::file_size(options_.file, failed);
  if (failed) return std::nullopt;
  return std::pair(time, size);
}

void Policy::load() {
  const Table defaults = build({});
  for (const auto& d : declared_) {
    std::vector<std::string> names;
    d.check->add_references(names);
    if (d.older) d.older->add_references(names);
    for (const auto& name : names)
      if (!defaults->rules.count(name))
        throw Fault(FaultKind::internal,
                    fmt::format("The policy rule {} of {} refers to rule:{}, which is not declared.", d.name,
                                d.service, name));
  }
  if (options_.file.empty()) return swap_in(defaults);
  seen_ = stamp();
  const auto file = read_policy_file(options_.file);
  swap_in(build(file));
  log::info("policy: {} rules of {} are in force", file.size(), options_.file);
}

bool Policy::reload(bool always) {
  if (options_.file.empty()) return false;
  const auto now = stamp();
  if (!always && now == seen_) return false;
  seen_ = now;
  try {
    const auto file = read_policy_file(options_.file);
    swap_in(build(file));
    log::info("policy: {} rules of {} are in force now", file.size(), options_.file);
    return true;
  } catch (const Fault& fault) {
    log::error("policy: the rules stay as they were: {} {}", fault.message, fault.hint);
    return false;
  }
}

bool Policy::allows(std::string_view name, const Caller& caller, const Target& target,
                    std::string_view service) const {
  const Table table = this->table();
  const PolicyRule* rule = table->find(name, service);
  return rule && rule->holds(caller, target);
}

PolicyAnswer Policy::explain(std::string_view name, const Caller& caller, const Target& target) const {
  const Table table = this->table();
  const PolicyRule* rule = table->find(name, "");
  if (!rule) {
    std::vector<std::string> known;
    for (const auto& [other, unused] : table->rules) known.push_back(other);
    const std::string near = nearest_word(name, known);
    throw Fault(FaultKind::not_found, fmt::format("There is no policy rule {}.", name),
                near.empty() ? "`virga policy list` shows them all." : fmt::format("Is {} meant?", near));
  }
  PolicyAnswer answer;
  answer.text = rule->text;
  answer.overridden = rule->overridden;
  Evaluation e{caller, target};
  answer.allowed = e.into([&] { return rule->check->holds(e); });
  Evaluation all{caller, target, nullptr, 0, 900};  // each part is asked, so fewer rules
  all.into([&] {
    answer.explanation = rule->check->explain(all);
    return true;
  });
  if (rule->refused_scopes & scope_of(caller)) {
    answer.allowed = false;
    answer.scope_refusal =
        fmt::format("the rule is for tokens of a {}, and this one is of a {} (policy.enforce_scope)",
                    in_words(rule->scopes), name_of(scope_of(caller)));
  }
  return answer;
}

std::vector<std::string> Policy::attributes(std::string_view name) const {
  const Table table = this->table();
  const PolicyRule* rule = table->find(name, "");
  return rule ? rule->attributes : std::vector<std::string>();
}

std::vector<ListedRule> Policy::list() const {
  const Table table = this->table();
  std::vector<ListedRule> out;
  for (const auto& [name, rules] : table->rules)
    for (const auto& rule : rules)
      out.push_back({rule.service, name, rule.text, rule.scopes, rule.overridden});
  std::stable_sort(out.begin(), out.end(),
                   [](const ListedRule& a, const ListedRule& b) { return a.service < b.service; });
  return out;
}

}  // namespace virga::api
