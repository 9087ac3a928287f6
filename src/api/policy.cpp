#include "api/policy.h"

#include <fmt/format.h>

#include <cctype>

#include "base/fault.h"
#include "base/scope_exit.h"

namespace virga::api {

/// A node of a parsed check. `rules` resolves "rule:NAME".
class PolicyCheck {
 public:
  virtual ~PolicyCheck() = default;
  virtual bool holds(const Policy& rules, const Caller& caller, const Target& target, int depth) const = 0;
  virtual bool looks_at_target(const Policy& rules, int depth) const = 0;
};

struct Policy::Rule {
  std::string text;
  std::shared_ptr<const PolicyCheck> check;
};

namespace {

constexpr int kMaxDepth = 32;
constexpr int kMaxSteps = 1000;  // rules asked for one answer
constexpr size_t kMaxText = 4096;
using CheckPtr = std::shared_ptr<const PolicyCheck>;

struct Constant final : PolicyCheck {
  explicit Constant(bool value) : value(value) {}
  bool holds(const Policy&, const Caller&, const Target&, int) const override { return value; }
  bool looks_at_target(const Policy&, int) const override { return false; }
  bool value;
};

struct Not final : PolicyCheck {
  explicit Not(CheckPtr inner) : inner(std::move(inner)) {}
  bool holds(const Policy& r, const Caller& c, const Target& t, int d) const override { return !inner->holds(r, c, t, d); }
  bool looks_at_target(const Policy& r, int d) const override { return inner->looks_at_target(r, d); }
  CheckPtr inner;
};

struct AnyAll final : PolicyCheck {
  AnyAll(bool any, std::vector<CheckPtr> parts) : any(any), parts(std::move(parts)) {}
  bool holds(const Policy& r, const Caller& c, const Target& t, int d) const override {
    for (const auto& p : parts)
      if (p->holds(r, c, t, d) == any) return any;
    return !any;
  }
  bool looks_at_target(const Policy& r, int d) const override {
    return std::any_of(parts.begin(), parts.end(), [&](const CheckPtr& p) { return p->looks_at_target(r, d); });
  }
  bool any;
  std::vector<CheckPtr> parts;
};

const std::string* find_in(const Target& target, std::string_view key) {
  for (const auto& [name, value] : target)
    if (name == key) return &value;
  return nullptr;
}

/// A credential by the name oslo.context gives it; false if there is none of that name.
bool credential(const Caller& c, std::string_view name, std::string& value) {
  const std::pair<std::string_view, const std::string*> known[] = {
      {"user_id", &c.user_id},
      {"project_id", &c.project_id},
      {"tenant_id", &c.project_id},
      {"domain_id", &c.domain_id},
      {"user_domain_id", &c.user_domain_id},
      {"project_domain_id", &c.project_domain_id},
      {"token.domain.id", &c.domain_id},
      {"token.project.domain.id", &c.project_domain_id},
      {"token.user.domain.id", &c.user_domain_id},
  };
  for (const auto& [known_name, field] : known)
    if (known_name == name) {
      value = *field;
      return true;
    }
  if (name == "system_scope") {
    value = c.system ? "all" : "";
    return true;
  }
  return false;
}

/// "kind:match": role:admin, rule:x, project_id:%(project_id)s, 'literal':%(attr)s, is_admin:True, …
struct Comparison final : PolicyCheck {
  Comparison(std::string kind, std::string match) : kind(std::move(kind)), match(std::move(match)) {}

  bool wanted(const Target& target, std::string& value) const {
    if (match.rfind("%(", 0) != 0) {
      value = match;
      return true;
    }
    const size_t end = match.find(")s");
    const std::string* found = end == std::string::npos ? nullptr : find_in(target, std::string_view(match).substr(2, end - 2));
    if (found) value = *found;
    return found != nullptr;
  }

  bool holds(const Policy&, const Caller& caller, const Target& target, int) const override {
    std::string want;
    if (!wanted(target, want)) return false;
    if (kind == "role") {
      const auto same = [&](const std::string& role) {
        return role.size() == want.size() && std::equal(role.begin(), role.end(), want.begin(), [](char a, char b) {
                 return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
               });
      };
      return std::any_of(caller.role_names.begin(), caller.role_names.end(), same);
    }
    if (kind == "is_admin") return (want == "True" || want == "1") && caller.has_role("admin");
    if (kind == "is_admin_project") return want == "True";
    std::string have;
    if (kind.size() >= 2 && kind.front() == '\'' && kind.back() == '\'') have = kind.substr(1, kind.size() - 2);
    else if (kind == "None") return want.empty() || want == "None";
    else if (kind == "True" || kind == "False") have = kind;
    else if (!credential(caller, kind, have) || have.empty()) return false;
    return have == want;
  }

  bool looks_at_target(const Policy&, int) const override { return match.rfind("%(", 0) == 0; }

  std::string kind, match;
};

struct RuleRef final : PolicyCheck {
  explicit RuleRef(std::string name) : name(std::move(name)) {}
  bool holds(const Policy& rules, const Caller& caller, const Target& target, int depth) const override;
  bool looks_at_target(const Policy& rules, int depth) const override;
  std::string name;
};

/// Recursive descent over: or := and ("or" and)*; and := not ("and" not)*; not := ["not"] (group | check).
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) { next(); }

  CheckPtr parse() {
    if (token_.empty()) return std::make_shared<Constant>(true);
    CheckPtr check = parse_or(0);
    if (!token_.empty()) fail("something follows the end of the rule");
    return check;
  }

 private:
  [[noreturn]] void fail(std::string_view why) const {
    throw Fault(FaultKind::bad_request, fmt::format("The policy rule \"{}\" does not parse: {}, near \"{}\".", text_, why, token_));
  }

  void next() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_]))) ++at_;
    const size_t from = at_;
    if (at_ < text_.size() && (text_[at_] == '(' || text_[at_] == ')')) {
      ++at_;
    } else {
      int inner = 0;  // the parentheses of %(name)s belong to the word
      while (at_ < text_.size() && !std::isspace(static_cast<unsigned char>(text_[at_]))) {
        if (text_[at_] == '(' && at_ > from && text_[at_ - 1] == '%') ++inner;
        else if (text_[at_] == ')' && inner-- == 0) break;
        ++at_;
      }
    }
    token_ = text_.substr(from, at_ - from);
  }

  CheckPtr parse_list(bool any, std::string_view word, int depth) {
    std::vector<CheckPtr> parts{any ? parse_list(false, "and", depth) : parse_not(depth)};
    while (token_ == word) {
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
    if (token_ == "not") {
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
    return parse_check();
  }

  CheckPtr parse_check() {
    const std::string word(token_);
    if (word.empty() || word == ")" || word == "and" || word == "or") fail("a check is missing");
    next();
    if (word == "@") return std::make_shared<Constant>(true);
    if (word == "!") return std::make_shared<Constant>(false);
    const size_t colon = word.find(':', word.front() == '\'' ? word.find('\'', 1) : 0);
    if (colon == std::string::npos || colon == 0) fail("a check needs the form kind:match");
    const std::string kind = word.substr(0, colon), match = word.substr(colon + 1);
    if (kind == "rule") return std::make_shared<RuleRef>(match);
    return std::make_shared<Comparison>(kind, match);
  }

  std::string_view text_, token_;
  size_t at_ = 0;
};

bool RuleRef::holds(const Policy& rules, const Caller& caller, const Target& target, int depth) const {
  return depth < kMaxDepth && rules.allows(name, caller, target);
}

bool RuleRef::looks_at_target(const Policy& rules, int depth) const { return depth < kMaxDepth && rules.needs_target(name); }

}  // namespace

Policy::Policy() = default;
Policy::~Policy() = default;

void Policy::declare(std::string_view name, std::string_view check) {
  if (check.size() > kMaxText) throw Fault(FaultKind::bad_request, fmt::format("The policy rule {} is too long.", name));
  rules_.insert_or_assign(std::string(name), Rule{std::string(check), Parser(check).parse()});
}

namespace {

/// One question through rules that name rules. Rules in a circle, or a tower of them that doubles at each floor, end
/// here: what cannot be decided is denied, whatever "not" stands around it.
struct Walk {
  int depth = 0, steps = 0;
  bool lost = false;

  template <class F>
  bool into(F&& rule) {
    if (depth == 0) *this = {};
    if (lost || depth >= kMaxDepth || ++steps > kMaxSteps) {
      lost = true;
      return false;
    }
    ++depth;
    const ScopeExit leave([this] { --depth; });
    const bool answer = rule();
    return depth > 1 ? answer : answer && !lost;
  }
};

}  // namespace

bool Policy::allows(std::string_view name, const Caller& caller, const Target& target) const {
  thread_local Walk walk;
  const auto found = rules_.find(name);
  return found != rules_.end() && walk.into([&] { return found->second.check->holds(*this, caller, target, 0); });
}

void Policy::require(std::string_view name, const Caller& caller, const Target& target) const {
  if (!allows(name, caller, target))
    throw Fault(FaultKind::forbidden, fmt::format("Policy doesn't allow {} to be performed.", name), "", "PolicyNotAuthorized");
}

bool Policy::needs_target(std::string_view name) const {
  thread_local Walk walk;
  const auto found = rules_.find(name);
  return found != rules_.end() && walk.into([&] { return found->second.check->looks_at_target(*this, 0); });
}

std::vector<std::pair<std::string, std::string>> Policy::list() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [name, rule] : rules_) out.emplace_back(name, rule.text);
  return out;
}

}  // namespace virga::api
