#pragma once
// `serve` parses the world's HTTP, so it gives up root once its sockets are open. It then owns one folder
// (state_dir/control) and reaches OVN's sockets and the agent link, nothing else.

#include <sys/types.h>

#include <string>

#include "base/config.h"

namespace virga::cloud {

struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
};
/// The account of the control plane: `cloud.user` if it exists, else "virga", else a number that no account has, so
/// that a trial need not add a user to the host.
Account control_account(const Config& config);

/// Gives a folder and everything in it to the account. Follows no symbolic links.
void hand_over(const std::string& folder, const Account& account);
/// Becomes the account for good: groups, gid, uid, no new privileges. Throws Fault(internal) if any part fails.
void drop_privileges(const Account& account);

}  // namespace virga::cloud
