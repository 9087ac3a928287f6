#pragma once
// Who a server says it is, before anything is said to it: for a client that knows the server's key from elsewhere.

#include <chrono>
#include <string>

namespace virga::http {

/// The certificate (PEM) that the server of this URL (https://HOST:PORT) shows, trusted by nobody yet. Throws
/// Fault(unavailable) if nothing answers, or not in TLS; Fault(bad_request) if the URL is none of https.
std::string shown_certificate(const std::string& url, std::chrono::milliseconds timeout);

}  // namespace virga::http
