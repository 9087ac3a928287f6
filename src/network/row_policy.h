#pragma once
// Neutron's way of asking its rules: one for the action, and one for each attribute that the request sets or
// the answer shows ("create_network:shared"), all about the row itself and the network or security group it
// belongs to.

#include <set>

#include "network/collection.h"

namespace virga::network {

/// What rules ask of each row: its own attributes; network:tenant_id and the network's shared;
/// security_group:tenant_id.
/// Of `only` these attributes, if it is given.
using AttributeNames = std::set<std::string, std::less<>>;
std::vector<api::Target> targets_of(db::Tx& tx, const Objects& rows, const AttributeNames* only = nullptr);
api::Target target_of(db::Tx& tx, const Object& row);

/// Throws Fault(forbidden), naming all rules as neutron does, unless "VERB_RESOURCE" and the rules of all
/// attributes of `given` hold.
void require_action(api::Call& call, const Collection& c, std::string_view verb, const Object& given,
                    const api::Target& target);
/// The same for what is there: to whom "get_RESOURCE" hides it, it is not found.
void require_change(db::Tx& tx, api::Call& call, const Collection& c, std::string_view verb,
                    const Object& current, const Object& given);

/// What a caller sees of a collection's rows. The rules are found once, for many rows.
class ReadFilter {
 public:
  ReadFilter(const api::Call& call, const Collection& c);
  /// What its rules ask of a row.
  const AttributeNames& asked() const { return asked_; }
  /// The row as a whole.
  bool may_get(const api::Target& target) const;
  /// Drops the attributes that this caller may not see.
  void apply(Object& row, const api::Target& target) const;

 private:
  const api::Call& call_;
  const api::PolicyRule* whole_;
  std::vector<std::pair<std::string_view, const api::PolicyRule*>> rules_;  ///< by attribute
  AttributeNames asked_;
};

}  // namespace virga::network
