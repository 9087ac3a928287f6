// {"oauth1": {}}: the request itself is signed, with an access token. Its rights are those that its user gave
// it.
#include "identity/auth.h"
#include "identity/oauth1.h"

namespace virga::identity {

void check_oauth1_method(Attempt& a) {
  const AccessTokenRow token = check_access_token(a.core, a.call);
  a.prove(token.user_id);
  a.delegate(Delegation::access_token, token.id, token.project_id);
  a.proof.methods |= method_oauth1;
}

}  // namespace virga::identity
