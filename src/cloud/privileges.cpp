#include "cloud/privileges.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/fault.h"

namespace virga::cloud {
namespace {

constexpr uid_t kNobodyElse = 64990;  // outside Debian's ranges for users and for packages

void must(bool ok, const char* what) {
  if (!ok) throw Fault(FaultKind::internal, fmt::format("The control plane cannot {}: {}.", what, strerror(errno)));
}

}  // namespace

Account control_account(const Config& config) {
  for (const std::string& name : {config.cloud.user, std::string("virga")})
    if (const passwd* entry = name.empty() ? nullptr : getpwnam(name.c_str())) return {entry->pw_uid, entry->pw_gid};
  return {kNobodyElse, kNobodyElse};
}

void hand_over(const std::string& folder, const Account& account) {
  must(lchown(folder.c_str(), account.uid, account.gid) == 0, "take its folder over");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) must(lchown(entry.path().c_str(), account.uid, account.gid) == 0 || errno == ENOENT, "take a file over");
}

void drop_privileges(const Account& account) {
  if (geteuid() != 0) return;
  must(setgroups(0, nullptr) == 0, "leave its groups");
  must(setresgid(account.gid, account.gid, account.gid) == 0, "change its group");
  must(setresuid(account.uid, account.uid, account.uid) == 0, "change its user");
  must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "refuse new privileges");
  must(setuid(0) != 0, "stay without root");
}

}  // namespace virga::cloud
