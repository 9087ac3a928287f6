#pragma once
// oslo.policy's language: "role:admin or project_id:%(project_id)s" parsed into a tree that can be asked, and
// that says afterwards which of its leaves decided. Supported: role:, rule:, field: (neutron's), any
// credential or literal compared with a literal or an attribute of the target, and, or, not, parentheses, ""
// and "@" (always), "!" (never). http: and https: are refused. (oslo.policy, "Policy rule expressions";
// neutron, "Policy".)

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/context.h"

namespace virga::api {

/// Attributes of the thing acted on: {"project_id", "…"}. An attribute that is null is there with an empty
/// value.
using Target = std::vector<std::pair<std::string, std::string>>;
/// The parts of a request's path by the names that its route gives them.
using PathParts = std::vector<std::pair<std::string_view, std::string>>;

/// How a rule came to its answer: the whole expression, each part with its own answer.
struct Explanation {
  std::string text;
  bool value = false;
  enum class Kind { leaf, any, all, negation, rule } kind = Kind::leaf;
  std::vector<Explanation> parts = {};
};
/// The leaves that made the answer what it is: of an "or" that holds the first that held, and so on.
std::vector<const Explanation*> deciding_leaves(const Explanation& whole);

struct Evaluation;
struct PolicyRule;
class PolicyCheck;
class RuleTable;
using CheckPtr = std::shared_ptr<const PolicyCheck>;

/// What checks ask of targets, and which rules have told it already.
struct Attributes {
  std::set<std::string> names;
  std::set<const PolicyRule*> told;
};

/// A node of a parsed check. Immutable, so that any number of threads may ask it.
class PolicyCheck {
 public:
  virtual ~PolicyCheck() = default;
  virtual bool holds(Evaluation& e) const = 0;
  virtual Explanation explain(Evaluation& e) const = 0;
  /// Adds the attributes of targets that an answer may depend on. Of a check that is bound.
  virtual void add_attributes(Attributes& to) const = 0;
  /// Adds the names behind each "rule:".
  virtual void add_references(std::vector<std::string>&) const {}
  /// The same check with the rules that it names found in `table`, as `service` means them; null if it names
  /// none. The result must not outlive the table.
  virtual CheckPtr bound(const RuleTable& table, std::string_view service) const = 0;
};

/// Throws Fault(bad_request) if `text` does not parse. At most 4 KiB, nested 32 deep. Until it is bound to a
/// table, what it says of other rules does not hold.
CheckPtr parse_check(std::string_view text);
CheckPtr either(CheckPtr a, CheckPtr b);

/// What a token may be of: bits.
enum Scopes : unsigned { kSystemScope = 1, kDomainScope = 2, kProjectScope = 4 };
/// A caller's scope: what is neither of the system nor of a domain counts as a project's, as in oslo.policy.
Scopes scope_of(const Caller& caller);

struct PolicyRule {
  std::string name;
  std::string service;  ///< "" for an alias of the operator's own
  std::string text;
  CheckPtr check;
  std::string scopes;           ///< "system domain project", or "" for all
  unsigned refused_scopes = 0;  ///< tokens of these are refused, whatever the check says
  bool overridden = false;      ///< by the operator's file
  bool targets = false;         ///< its default looks at the target, so that the route's handler asks it
  std::vector<std::string> attributes = {};  ///< of targets, that an answer may depend on

  bool holds(const Caller& caller, const Target& target, const PathParts* path = nullptr) const;
};

/// A rule that its service declared; the same in every table of one Policy.
enum class RuleId : unsigned {};

/// All rules that are in force together. Immutable once made.
class RuleTable {
 public:
  /// By name. Services may each have a rule of one name (keystone's and neutron's "owner" are not the same).
  std::map<std::string, std::vector<PolicyRule>, std::less<>> rules;
  std::vector<const PolicyRule*> declared;  ///< by RuleId
  bool admin_overridden = false;  ///< the operator's file says who is an administrator (context_is_admin)

  /// The service's own rule of that name, else the first there is; null if there is none.
  const PolicyRule* find(std::string_view name, std::string_view service) const;
  const PolicyRule& operator[](RuleId id) const { return *declared[static_cast<unsigned>(id)]; }
};

/// One question. Rules in a circle, or a tower of them that doubles at each floor, end in `lost`: what cannot
/// be decided is denied, whatever "not" stands around it.
struct Evaluation {
  const Caller& caller;
  const Target& target;
  const PathParts* path = nullptr;  ///< asked for what the target has not; null: not asked
  int depth = 0, steps = 0;
  bool lost = false;

  /// Enters a rule; `ask` is what is wanted of it.
  template <class F>
  bool into(F&& ask) {
    if (lost || depth >= 32 || ++steps > 1000) {
      lost = true;
      return false;
    }
    ++depth;
    const bool answer = ask();
    --depth;
    return answer && !lost;
  }
};

}  // namespace virga::api
