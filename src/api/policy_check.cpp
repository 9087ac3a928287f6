#include "api/policy_check.h"

#include <fmt/format.h>

#include <cctype>

#include "base/config.h"
#include "base/fault.h"

namespace virga::api {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxText = 4096;

const std::string* find_in(const Evaluation& e, std::string_view key) {
  for (const auto& [name, value] : e.target)
    if (name == key) return &value;
  if (e.path)
    for (const auto& [name, value] : *e.path)
      if (name == key) return &value;
  return nullptr;
}

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) {
           return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
         });
}

/// What a caller is asked for, by the name oslo.context and keystone's token give it.
struct Credential {
  std::string_view name;
  const std::string Caller::*field;
};
constexpr Credential kCredentials[] = {
    {"user_id", &Caller::user_id},
    {"user", &Caller::user_id},
    {"project_id", &Caller::project_id},
    {"project", &Caller::project_id},
    {"tenant_id", &Caller::project_id},
    {"tenant", &Caller::project_id},
    {"domain_id", &Caller::domain_id},
    {"user_domain_id", &Caller::user_domain_id},
    {"project_domain_id", &Caller::project_domain_id},
    {"token.user.id", &Caller::user_id},
    {"token.user.domain.id", &Caller::user_domain_id},
    {"token.project.id", &Caller::project_id},
    {"token.project.domain.id", &Caller::project_domain_id},
    {"token.domain.id", &Caller::domain_id},
};

const Credential* find_credential(std::string_view name) {
  for (const auto& c : kCredentials)
    if (c.name == name) return &c;
  return nullptr;
}

/// Each rule once, however many name it.
void add_attributes_of(const PolicyRule* rule, Attributes& to) {
  if (rule && to.told.insert(rule).second) rule->check->add_attributes(to);
}

struct Constant final : PolicyCheck {
  Constant(bool value, std::string text) : value(value), text(std::move(text)) {}
  bool holds(Evaluation&) const override { return value; }
  Explanation explain(Evaluation&) const override { return {text, value}; }
  void add_attributes(Attributes&) const override {}
  CheckPtr bound(const RuleTable&, std::string_view) const override { return nullptr; }
  bool value;
  std::string text;
};

struct Not final : PolicyCheck {
  explicit Not(CheckPtr inner) : inner(std::move(inner)) {}
  bool holds(Evaluation& e) const override { return !inner->holds(e); }
  Explanation explain(Evaluation& e) const override {
    Explanation part = inner->explain(e);
    const bool value = !part.value;
    return {"not", value, Explanation::Kind::negation, {std::move(part)}};
  }
  void add_attributes(Attributes& to) const override { inner->add_attributes(to); }
  void add_references(std::vector<std::string>& to) const override { inner->add_references(to); }
  CheckPtr bound(const RuleTable& table, std::string_view service) const override {
    CheckPtr found = inner->bound(table, service);
    return found ? std::make_shared<Not>(std::move(found)) : nullptr;
  }
  CheckPtr inner;
};

struct AnyAll final : PolicyCheck {
  AnyAll(bool any, std::vector<CheckPtr> parts) : any(any), parts(std::move(parts)) {}
  bool holds(Evaluation& e) const override {
    for (const auto& p : parts)
      if (p->holds(e) == any) return any;
    return !any;
  }
  Explanation explain(Evaluation& e) const override {
    Explanation out{any ? "or" : "and", !any, any ? Explanation::Kind::any : Explanation::Kind::all, {}};
    for (const auto& p : parts) {
      out.parts.push_back(p->explain(e));
      if (out.parts.back().value == any) out.value = any;
    }
    return out;
  }
  void add_attributes(Attributes& to) const override {
    for (const auto& p : parts) p->add_attributes(to);
  }
  void add_references(std::vector<std::string>& to) const override {
    for (const auto& p : parts) p->add_references(to);
  }
  CheckPtr bound(const RuleTable& table, std::string_view service) const override {
    std::vector<CheckPtr> made = parts;
    bool changed = false;
    for (auto& p : made)
      if (CheckPtr found = p->bound(table, service)) {
        p = std::move(found);
        changed = true;
      }
    return changed ? std::make_shared<AnyAll>(any, std::move(made)) : nullptr;
  }
  bool any;
  std::vector<CheckPtr> parts;
};

/// "kind:match": role:admin, project_id:%(project_id)s, 'literal':%(attr)s, is_admin:True, …
struct Comparison final : PolicyCheck {
  Comparison(std::string kind, std::string match) : kind(std::move(kind)), match(std::move(match)) {
    if (this->match.rfind("%(", 0) == 0) attribute = this->match.substr(2, this->match.size() - 4);
    credential = find_credential(this->kind);
    what = credential                         ? What::credential
           : this->kind == "role"             ? What::role
           : this->kind == "system_scope"     ? What::system_scope
           : this->kind == "is_admin"         ? What::is_admin
           : this->kind == "is_admin_project" ? What::is_admin_project
           : this->kind == "None"             ? What::nothing
                                              : What::literal;
  }

  bool holds(Evaluation& e) const override {
    const std::string* want = attribute.empty() ? &match : find_in(e, attribute);
    if (!want) return false;
    switch (what) {
      case What::credential: {
        const std::string& have = e.caller.*credential->field;
        return !have.empty() && have == *want;
      }
      case What::role:
        return std::any_of(e.caller.role_names.begin(), e.caller.role_names.end(),
                           [&](const auto& role) { return same_word(role, *want); });
      case What::system_scope:
        return e.caller.system && *want == "all";
      case What::is_admin:
        return *want == "True" && is_admin(e);
      case What::is_admin_project:
        return *want == "True";
      case What::nothing:
        return want->empty() || *want == "None";
      case What::literal:
        return literal() == *want;
    }
    return false;
  }

  /// The services' own flag: what their rule context_is_admin says. Keystone's ("is_admin:1") is its
  /// bootstrap token, which does not exist here.
  bool is_admin(Evaluation& e) const {
    return admin_rule ? e.into([&] { return admin_rule->check->holds(e); }) : e.caller.has_role("admin");
  }

  std::string_view literal() const {
    const bool quoted = kind.size() >= 2 && kind.front() == '\'' && kind.back() == '\'';
    return quoted ? std::string_view(kind).substr(1, kind.size() - 2) : std::string_view(kind);
  }

  Explanation explain(Evaluation& e) const override { return {kind + ":" + match, holds(e)}; }
  void add_attributes(Attributes& to) const override {
    if (!attribute.empty()) to.names.insert(attribute);
    add_attributes_of(admin_rule, to);
  }
  CheckPtr bound(const RuleTable& table, std::string_view service) const override {
    if (what != What::is_admin) return nullptr;
    auto made = std::make_shared<Comparison>(kind, match);
    made->admin_rule = table.find("context_is_admin", service);
    return made;
  }

  enum class What { credential, role, system_scope, is_admin, is_admin_project, nothing, literal };
  std::string kind, match, attribute;
  What what;
  const Credential* credential = nullptr;
  const PolicyRule* admin_rule = nullptr;
};

/// neutron's "field:networks:shared=True" and "field:port:device_owner=~^network:". Behind "=~" neutron takes
/// a regular expression that is matched from the start; here it may be literal text only, so that its time is
/// bounded.
struct Field final : PolicyCheck {
  explicit Field(const std::string& text) : text(text) {
    const size_t resource = text.find(':'), equals = text.rfind('=');
    name = text.substr(resource + 1, equals - resource - 1);
    wanted = text.substr(equals + 1);
    if (wanted.rfind('~', 0) != 0) return;
    wanted.erase(0, wanted.rfind("~^", 0) == 0 ? 2 : 1);
    is_prefix = true;
  }
  static bool parses(const std::string& text) {
    const size_t resource = text.find(':'), equals = text.rfind('=');
    return resource != std::string::npos && resource > 0 && equals != std::string::npos &&
           equals > resource + 1 &&
           (text.compare(equals + 1, 1, "~") != 0 ||
            text.find_first_of(".*+?[]{}|\\$()", equals) == std::string::npos);
  }
  bool holds(Evaluation& e) const override {
    const std::string* have = find_in(e, name);
    if (!have) return false;
    return is_prefix ? have->rfind(wanted, 0) == 0 : *have == wanted;
  }
  Explanation explain(Evaluation& e) const override { return {"field:" + text, holds(e)}; }
  void add_attributes(Attributes& to) const override { to.names.insert(name); }
  CheckPtr bound(const RuleTable&, std::string_view) const override { return nullptr; }
  std::string text, name, wanted;
  bool is_prefix = false;
};

struct RuleRef final : PolicyCheck {
  explicit RuleRef(std::string name, const PolicyRule* rule = nullptr) : name(std::move(name)), rule(rule) {}
  bool holds(Evaluation& e) const override {
    return rule && e.into([&] { return rule->check->holds(e); });
  }
  Explanation explain(Evaluation& e) const override {
    Explanation out{"rule:" + name, false, Explanation::Kind::rule, {}};
    out.value = rule && e.into([&] {
      out.parts.push_back(rule->check->explain(e));
      return out.parts.back().value;
    });
    return out;
  }
  void add_attributes(Attributes& to) const override { add_attributes_of(rule, to); }
  void add_references(std::vector<std::string>& to) const override { to.push_back(name); }
  CheckPtr bound(const RuleTable& table, std::string_view service) const override {
    return std::make_shared<RuleRef>(name, table.find(name, service));
  }
  std::string name;
  const PolicyRule* rule;  ///< null if there is none, or until it is bound
};

/// Recursive descent over: or := and ("or" and)*; and := not ("and" not)*; not := ["not"] (group | check).
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) { next(); }

  CheckPtr parse() {
    if (token_.empty()) return std::make_shared<Constant>(true, "\"\"");
    CheckPtr check = parse_or(0);
    if (!token_.empty()) fail("something follows the end of the rule");
    return check;
  }

 private:
  [[noreturn]] void fail(std::string_view why) const {
    throw Fault(FaultKind::bad_request,
                fmt::format("The policy rule \"{}\" does not parse: {}, near \"{}\".", text_, why, token_));
  }

  void next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    const size_t from = at_;
    if (at_ < text_.size() && (text_[at_] == '(' || text_[at_] == ')')) {
      ++at_;
    } else {
      int inner = 0;  // the parentheses of %(name)s belong to the word
      while (at_ < text_.size() && !std::isspace(static_cast<unsigned char>(text_[at_]))) {
        if (text_[at_] == '(' && at_ > from && text_[at_ - 1] == '%')
          ++inner;
        else if (text_[at_] == ')' && inner-- == 0)
          break;
        ++at_;
      }
    }
    token_ = text_.substr(from, at_ - from);
  }

  CheckPtr parse_list(bool any, std::string_view word, int depth) {
    std::vector<CheckPtr> parts{any ? parse_list(false, "and", depth) : parse_not(depth)};
    while (same_word(token_, word)) {
      next();
      parts.push_back(any ? parse_list(false, "and", depth) : parse_not(depth));
    }
    return parts.size() == 1 ? parts.front() : std::make_shared<AnyAll>(any, std::move(parts));
  }

  CheckPtr parse_or(int depth) {
    if (depth > kMaxDepth) fail("it is nested too deeply");
    return parse_list(true, "or", depth);
  }

  CheckPtr parse_not(int depth) {
    if (depth > kMaxDepth) fail("it is nested too deeply");
    if (same_word(token_, "not")) {
      next();
      return std::make_shared<Not>(parse_not(depth + 1));
    }
    if (token_ == "(") {
      next();
      CheckPtr inner = parse_or(depth + 1);
      if (token_ != ")") fail("a parenthesis is not closed");
      next();
      return inner;
    }
    return parse_one();
  }

  CheckPtr parse_one() {
    const std::string word(token_);
    if (word.empty() || word == ")" || same_word(word, "and") || same_word(word, "or"))
      fail("a check is missing");
    if (word == "@" || word == "!") {
      next();
      return std::make_shared<Constant>(word == "@", word);
    }
    const size_t colon = word.find(':', word.front() == '\'' ? word.find('\'', 1) : 0);
    if (colon == std::string::npos || colon == 0) fail("a check needs the form kind:match");
    const std::string kind = word.substr(0, colon), match = word.substr(colon + 1);
    check_match(kind, match);
    CheckPtr made = make(kind, match);
    next();
    return made;
  }

  void check_match(const std::string& kind, const std::string& match) const {
    const size_t percent = match.find('%');
    const bool attribute =
        match.size() > 4 && match.rfind("%(", 0) == 0 && match.find(")s") == match.size() - 2;
    if (kind == "http" || kind == "https") fail("a check may not ask another server (http:)");
    if (percent != std::string::npos && (!attribute || kind == "rule"))
      fail("an attribute stands alone, as %(name)s");
  }

  CheckPtr make(const std::string& kind, const std::string& match) const {
    if (kind == "rule") {
      if (match.empty()) fail("rule: needs a name");
      return std::make_shared<RuleRef>(match);
    }
    if (kind == "field") {
      if (!Field::parses(match)) fail("field: needs the form field:resource:attribute=value, or =~^literal");
      return std::make_shared<Field>(match);
    }
    check_kind(kind);
    return std::make_shared<Comparison>(kind, match);
  }

  /// A word that nobody knows would just never hold: a typing mistake that locks people out, or under "not"
  /// in.
  void check_kind(const std::string& kind) const {
    static const std::vector<std::string> others{"role", "system_scope", "is_admin", "is_admin_project",
                                                 "None", "True",         "False"};
    const bool literal = kind.size() >= 2 && (kind.front() == '\'' && kind.back() == '\'');
    const bool number = kind.find_first_not_of("0123456789.-") == std::string::npos;
    if (literal || number || find_credential(kind) ||
        std::find(others.begin(), others.end(), kind) != others.end())
      return;
    std::vector<std::string> known = others;
    for (const auto& c : kCredentials) known.emplace_back(c.name);
    const std::string near = nearest_word(kind, known);
    fail(fmt::format("nothing of a caller is called \"{}\"{}", kind,
                     near.empty() ? "" : fmt::format(" (\"{}\"?)", near)));
  }

  std::string_view text_, token_;
  size_t at_ = 0;
};

void add_deciding(const Explanation& e, std::vector<const Explanation*>& to) {
  using Kind = Explanation::Kind;
  if (e.parts.empty()) return to.push_back(&e);
  const bool one_suffices = (e.kind == Kind::any && e.value) || (e.kind == Kind::all && !e.value);
  for (const auto& part : e.parts) {
    if (one_suffices && part.value != e.value) continue;
    add_deciding(part, to);
    if (one_suffices) return;
  }
}

}  // namespace

CheckPtr parse_check(std::string_view text) {
  if (text.size() > kMaxText)
    throw Fault(FaultKind::bad_request,
                fmt::format("A policy rule has {} bytes, of {} at most.", text.size(), kMaxText));
  return Parser(text).parse();
}

CheckPtr either(CheckPtr a, CheckPtr b) {
  return std::make_shared<AnyAll>(true, std::vector<CheckPtr>{std::move(a), std::move(b)});
}

Scopes scope_of(const Caller& caller) {
  return caller.system ? kSystemScope : !caller.domain_id.empty() ? kDomainScope : kProjectScope;
}

bool PolicyRule::holds(const Caller& caller, const Target& target, const PathParts* path) const {
  if (refused_scopes & scope_of(caller)) return false;
  Evaluation e{caller, target, path};
  return e.into([&] { return check->holds(e); });
}

const PolicyRule* RuleTable::find(std::string_view name, std::string_view service) const {
  const auto found = rules.find(name);
  if (found == rules.end()) return nullptr;
  for (const auto& rule : found->second)
    if (rule.service == service) return &rule;
  return &found->second.front();
}

std::vector<const Explanation*> deciding_leaves(const Explanation& whole) {
  std::vector<const Explanation*> out;
  add_deciding(whole, out);
  return out;
}

}  // namespace virga::api
