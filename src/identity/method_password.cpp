// {"password": {"user": {"id": …, "password": …}}}
#include "identity/auth.h"
#include "identity/directory_sync.h"
#include "identity/login.h"

namespace virga::identity {
namespace {

/// Who wants to log in, and where. A directory's users need no row yet.
struct Named {
  std::string domain_id;
  std::optional<UserRow> row;
  std::optional<DirectorySettings> directory;
};

Named look_up(db::Tx& tx, const json::object& user) {
  Named out;
  out.row = named_user(tx, user);
  const json::object* domain = find_object(user, "domain");
  if (out.row)
    out.domain_id = out.row->domain_id;
  else if (domain && !has_value(user, "id"))
    out.domain_id = named_domain(tx, *domain).value_or("");
  out.directory = directory_of(tx, out.domain_id);
  return out;
}

}  // namespace

void check_password_method(Attempt& a) {
  const json::object& user = need_object(a.data, "user", "password");
  const std::string password = need_string(user, "password", "user");
  const Named named = a.core.database.read([&](db::Tx& tx) { return look_up(tx, user); });
  if (named.directory) {
    a.prove(directory_login(a.core, named.domain_id, *named.directory, find_string(user, "id"),
                            find_string(user, "name"), password));
  } else {
    verify_password_login(a.core, named.row, password, Expired::refused);
    a.prove(*named.row);
  }
  a.proof.methods |= method_password;
}

}  // namespace virga::identity
