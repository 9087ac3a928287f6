#pragma once
// neutron's revision-if-match: a change with "If-Match: revision_number=N" is made only if the resource still
// has that revision, so that two who change it at once cannot overwrite each other.

#include "network/collection.h"

namespace virga::network {

/// Throws Fault(precondition_failed) if the request names another revision than the row's, Fault(bad_request)
/// if its If-Match names no number or two, Fault(not_found) if the caller may not see the row. Within the
/// transaction that makes the change: on MariaDB the row stays locked until its end.
void check_revision(db::Tx& tx, const Collection& collection, const api::Call& call, const std::string& id);

}  // namespace virga::network
