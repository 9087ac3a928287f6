#pragma once
// `serve` at its start, as long as its database does not answer: whoever asks the API gets 503 and the reason at once, where the
// supervisor's sockets alone would let clients and balancers wait for an answer that nobody gives.

#include <string>
#include <vector>

#include "http/api.h"

namespace virga::cloud {

/// Asks the database each second until it answers. Meanwhile the API's sockets (with `api`'s options) and the local one of control
/// are answered; they stay the caller's. Returns the signal (of this thread's blocked ones, but for SIGHUP) that told it to end, or 0.
int wait_for_database(const std::string& url, const http::ServerOptions& api, const std::vector<int>& listeners, int control_socket);

}  // namespace virga::cloud
