#pragma once
// What a login does beyond comparing a secret: lockout after failures, accounts that nobody used for long,
// passwords that are over. All of it is off unless configured (Options::security).
//
// Failures are counted on the user's row, by the database, so that guesses sent at once, and to several
// controllers, count like guesses one after the other: a right guess that others pushed past the limit is
// refused.

#include <optional>
#include <string>
#include <string_view>

#include "identity/core.h"

namespace virga::identity {

/// Enabled, and not asleep for too long.
bool is_enabled(const Core& core, const UserRow& user);
bool is_locked(const Core& core, const UserRow& user);
bool password_expired(const Core& core, const UserRow& user);

/// May an expired password still serve (to be changed)?
enum class Expired { refused, accepted };

/// Throws the refusal unless the password is right and the user may log in. An unknown or locked user costs
/// the time of a wrong password.
void verify_password_login(Core& core, const std::optional<UserRow>& user, std::string_view password,
                           Expired expired);

/// Counts a wrong secret.
void note_failure(Core& core, const UserRow& user);
/// The whole login succeeded: failures are forgotten. False if the account was locked meanwhile.
bool note_login(Core& core, const UserRow& user);

}  // namespace virga::identity
