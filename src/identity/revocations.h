#pragma once
// What ended tokens before their time, as OS-REVOKE lists it. Tokens themselves are checked against
// generations and audit ids (core.cpp); these rows are the record of it.

#include <string>

#include "db/api.h"

namespace virga::identity {

/// One of these is set: all tokens of that user, project, domain or trust, or the one token of that audit id.
struct Revoked {
  std::string user_id{}, project_id{}, domain_id{}, trust_id{}, audit_id{};
};

void record_revocation(db::Tx& tx, const Revoked& what, Time now);

}  // namespace virga::identity
