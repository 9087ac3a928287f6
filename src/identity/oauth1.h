#pragma once
// OAuth 1.0a: a consumer (a program) gets some of a user's roles on a project, without his password. The
// consumer asks for a request token, the user authorizes it, the consumer changes it for an access token, and
// logs in with that (method "oauth1" of /v3/auth/tokens).

#include <string>

#include "api/api.h"
#include "identity/core.h"
#include "identity/oauth1_table.h"
#include "identity/oauth_signature.h"

namespace virga::identity {

/// A request's signature, time and nonce, checked; refuses (401) what does not hold, and what was seen
/// before.
void check_signed_request(Core& core, const api::Call& call, const OAuthParameters& parameters,
                          const ConsumerRow& consumer, const std::string& token_secret);

/// The access token that signed this request: the login method "oauth1". Throws Fault(unauthorized).
AccessTokenRow check_access_token(Core& core, const api::Call& call);

}  // namespace virga::identity
