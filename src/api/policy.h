#pragma once
// Who may do what: named rules in oslo.policy's language. Each service declares its rules with their defaults
// in a table beside its routes; an operator's policy.yaml replaces single ones. See policy_check.h for the
// language, policy_file.h for the file.
//
// A rule has the default of secure RBAC (admin, member, reader of system, domain, project) and, where
// OpenStack Zed still ships one, the older default, which lets a call through as well until `new_defaults` is
// set. With `enforce_scope` a token whose scope the rule is not made for is refused whatever the check says.

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "api/context.h"
#include "api/policy_check.h"

namespace virga::api {

/// A rule as its service documents it.
struct RuleDefault {
  std::string_view name;
  std::string_view check;
  std::string_view scopes = {};                          ///< "system domain project"; "" = any
  std::optional<std::string_view> older = std::nullopt;  ///< the default before secure RBAC
  std::string_view old_name = {};                        ///< what a policy.yaml may still call it
};

struct PolicyOptions {
  std::string file;  ///< "" = none
  bool new_defaults = false;
  bool enforce_scope = false;
};

/// What `Policy::explain` tells.
struct PolicyAnswer {
  bool allowed = false;
  std::string scope_refusal;  ///< why the token's scope alone refuses; "" if it does not
  std::string text;           ///< the rule in force
  bool overridden = false;    ///< by the operator's file
  Explanation explanation;
};

struct ListedRule {
  std::string service, name, check, scopes;
  bool overridden;
};

struct FileRule;
struct DeclaredRule;

/// All rules of the cloud. Declaring happens at start; everything else is thread-safe at any time: the rules
/// are an immutable table that a new file replaces as a whole.
class Policy {
 public:
  using Table = std::shared_ptr<const RuleTable>;

  explicit Policy(PolicyOptions options = {});
  ~Policy();

  /// Adds a service's rules. Throws Fault(internal) if a name gets two meanings in one service,
  /// Fault(bad_request) if a check does not parse.
  void declare(std::string_view service, std::span<const RuleDefault> rules);
  /// Gives a rule another default, whatever service declared it; adds one without a service if none did.
  void declare(std::string_view name, std::string_view check);
  /// The rule that this service declared; nullopt if it did not.
  std::optional<RuleId> find(std::string_view name, std::string_view service) const;
  /// After all is declared: checks that each reference has a rule, and reads the file. Throws
  /// Fault(bad_request) that names file, line and rule; Fault(not_found) if the file cannot be read.
  void load();
  /// Reads the file again, if it changed or `always`. A file with a mistake is logged, and the rules stay as
  /// they are. True if new rules are in force. Call it from one thread.
  bool reload(bool always);

  /// The rules in force now. A request asks all its questions of one table.
  Table table() const;
  bool allows(std::string_view name, const Caller& caller, const Target& target,
              std::string_view service = {}) const;
  /// The same with its reasons. Throws Fault(not_found) with the nearest name if there is no such rule.
  PolicyAnswer explain(std::string_view name, const Caller& caller, const Target& target) const;
  /// Of targets, what the rule's answer may depend on.
  std::vector<std::string> attributes(std::string_view name) const;
  std::vector<ListedRule> list() const;  ///< by service and name

 private:
  Table build(const std::vector<FileRule>& file) const;
  void swap_in(Table table);
  std::optional<std::pair<std::filesystem::file_time_type, uintmax_t>> stamp() const;

  PolicyOptions options_;
  std::vector<DeclaredRule> declared_;
  std::optional<std::pair<std::filesystem::file_time_type, uintmax_t>> seen_;
  mutable std::mutex mutex_;
  Table table_;  ///< under mutex_
};

}  // namespace virga::api
