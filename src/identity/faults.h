#pragma once
// Keystone's refusals, in its words.

#include <string>
#include <string_view>

namespace virga::identity {

/// 400: "Expecting to find user in password. …"
[[noreturn]] void expecting(std::string_view attribute, std::string_view target);
/// 400, with a text of its own.
[[noreturn]] void refuse_body(std::string message);
/// 401: the one answer to every failed authentication.
[[noreturn]] void refuse_authentication();
/// 403 without a reason: keystone hides it.
[[noreturn]] void forbid();
/// 403: "You are not authorized to perform the requested action: …."
[[noreturn]] void forbid_action(std::string_view action);

}  // namespace virga::identity
