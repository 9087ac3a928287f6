#include "identity/login.h"

#include <fmt/format.h>

#include "identity/faults.h"

namespace virga::identity {
namespace {

using Days = std::chrono::days;

bool has_option(const UserRow& user, std::string_view name) {
  return find_bool(user.options, name);
}

bool counts_failures(const Core& core, const UserRow& user) {
  return core.options.security.lockout_failure_attempts > 0 &&
         !has_option(user, "ignore_lockout_failure_attempts");
}

/// Failures up to then no longer lock; the oldest time there is, if a lock has no end.
Time lock_ends_before(const Core& core) {
  const auto duration = core.options.security.lockout_duration;
  return duration.count() > 0 ? core.clock.now() - duration : Time{};
}

std::string today(const Core& core) {
  return to_iso(core.clock.now()).substr(0, 10);
}

}  // namespace

bool is_enabled(const Core& core, const UserRow& user) {
  const int days = core.options.security.disable_user_account_days_inactive;
  // A row that is just being made has no day yet.
  if (!user.enabled || days <= 0 || user.last_active_on.empty() || has_option(user, "ignore_user_inactivity"))
    return user.enabled;
  const Time active = parse_time(user.last_active_on + " 00:00:00.000000");
  return std::chrono::floor<Days>(core.clock.now()) - std::chrono::floor<Days>(active) < Days(days);
}

bool is_locked(const Core& core, const UserRow& user) {
  return counts_failures(core, user) &&
         user.failed_auth_count >= core.options.security.lockout_failure_attempts && user.failed_auth_at &&
         *user.failed_auth_at > lock_ends_before(core);
}

bool password_expired(const Core& core, const UserRow& user) {
  return user.password_expires_at && !has_option(user, "ignore_password_expiry") &&
         *user.password_expires_at <= core.clock.now();
}

void verify_password_login(Core& core, const std::optional<UserRow>& user, std::string_view password,
                           Expired expired) {
  const bool known = user && !is_locked(core, *user);
  const bool right = core.passwords.verify(known ? user->id : "", password, known ? user->password_hash : "");
  if (known && !right) note_failure(core, *user);
  // Whether the user is enabled is looked at after the password: neither the answer nor its time tells who
  // exists.
  if (!known || !right || !is_enabled(core, *user)) refuse_authentication();
  if (expired == Expired::refused && password_expired(core, *user))
    throw Fault(FaultKind::unauthorized,
                fmt::format("The password is expired and needs to be changed for user: {}.", user->id));
}

void note_failure(Core& core, const UserRow& user) {
  if (!counts_failures(core, user)) return;
  core.database.write([&](db::Tx& tx) {
    // MariaDB assigns from left to right: the count is told by the old time of failure.
    tx.exec(
        "UPDATE identity_users SET failed_auth_count = CASE WHEN failed_auth_count >= ? AND failed_auth_at "
        "<= "
        "? THEN 1 ELSE failed_auth_count + 1 END, failed_auth_at = ? WHERE id = ?",
        core.options.security.lockout_failure_attempts, lock_ends_before(core), core.clock.now(), user.id);
  });
}

bool note_login(Core& core, const UserRow& user) {
  const bool dated = core.options.security.disable_user_account_days_inactive > 0;
  const bool counted = counts_failures(core, user);
  if (!(counted && user.failed_auth_count > 0) && !(dated && user.last_active_on != today(core))) return true;
  return core.database.write([&](db::Tx& tx) {
    std::string sql = "UPDATE identity_users SET failed_auth_count = 0, failed_auth_at = NULL";
    std::vector<db::Value> values;
    if (dated) {
      sql += ", last_active_on = ?";
      values.emplace_back(today(core));
    }
    sql += " WHERE id = ?";
    values.emplace_back(user.id);
    if (counted) {
      sql += " AND (failed_auth_count < ? OR failed_auth_at <= ?)";
      values.emplace_back(core.options.security.lockout_failure_attempts);
      values.emplace_back(lock_ends_before(core));
    }
    return tx.exec(sql, values) > 0;
  });
}

}  // namespace virga::identity
