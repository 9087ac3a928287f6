#pragma once
// Request ids as oslo.middleware's request_id.py has them: each service gives a request an id of its own, and
// keeps the one that the caller sent (the *global* id, by which a call of nova finds its calls of neutron)
// beside it.

#include <string_view>

namespace virga::api {

/// "req-" and a UUID of lower-case digits with dashes. Anything else a client sends is dropped, so that it
/// writes nothing of its choice into logs.
bool is_global_request_id(std::string_view text);

}  // namespace virga::api
