// {"password": {"user": {"id": …, "password": …}}}
#include "identity/auth.h"
#include "identity/login.h"

namespace virga::identity {

void check_password_method(Attempt& a) {
  const json::object& user = need_object(a.data, "user", "password");
  const std::string password = need_string(user, "password", "user");
  const auto row = a.core.database.read([&](db::Tx& tx) { return named_user(tx, user); });
  verify_password_login(a.core, row, password, Expired::refused);
  a.prove(*row);
  a.proof.methods |= method_password;
}

}  // namespace virga::identity
