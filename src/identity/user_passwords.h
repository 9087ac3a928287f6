#pragma once
// How a user's password is set: its history, its age, and when it is over.

#include <string>
#include <string_view>

#include "identity/core.h"

namespace virga::identity {

/// Who sets a password: the user, who must follow all rules, or somebody with the right to.
enum class SetBy { user, admin };

/// Throws Fault(bad_request) unless the user itself may change to this password now. Takes as long as all
/// hashes in the history.
void check_own_change(Core& core, const UserRow& user, std::string_view password);

/// Puts the hash ("" for none) into the row; the caller saves it. Its tokens end.
void set_password(const Core& core, UserRow& user, std::string hash, SetBy by);
/// Writes down the hash that the row had before. To be called with the saving transaction.
void remember_password(const Core& core, db::Tx& tx, const std::string& user_id, const std::string& old_hash);

}  // namespace virga::identity
