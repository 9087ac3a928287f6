#pragma once
// Raw bytes on a connected descriptor: non-blocking pieces for the fast path, blocking ones with a deadline for stream
// workers and the client. TLS would be a second implementation of these few functions.

#include <sys/uio.h>

#include <chrono>
#include <span>
#include <string>
#include <string_view>

namespace virga::http::wire {

using Timeout = std::chrono::milliseconds;

/// Sends as much of head then body as the socket takes at once. Bytes sent, or -1 if the connection is dead.
ssize_t send_now(int fd, std::string_view head, std::string_view body);
/// Sends all; false if the peer went away or took nothing for `timeout`.
bool send_all(int fd, std::string_view bytes, Timeout timeout);
/// Waits for data. > 0 bytes, 0 at end of stream, -1 on error or timeout (errno tells).
ssize_t receive(int fd, std::span<char> into, Timeout timeout);
/// False on timeout.
bool wait_for(int fd, short events, Timeout timeout);

}  // namespace virga::http::wire
