#pragma once
// RFC 6238 with what everybody uses: HMAC-SHA-1, 30 seconds, six digits. Pure.

#include <string>
#include <string_view>

#include "base/clock.h"

namespace virga::identity {

/// The passcode of the half minute that `at` lies in.
std::string totp(std::string_view key, Time at);
/// True for the passcode of now, or of one of `previous` half minutes before. A seed that is not base32 has
/// none.
bool totp_matches(std::string_view base32_seed, std::string_view passcode, Time now, int previous);

}  // namespace virga::identity
