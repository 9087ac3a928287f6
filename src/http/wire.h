#pragma once
// Raw bytes on a connected descriptor: non-blocking pieces for the fast path, blocking ones with a deadline for stream
// workers and the client. Over TLS (tls.h) the same few functions, told apart by the channel they are given.

#include <sys/uio.h>

#include <chrono>
#include <span>
#include <string>
#include <string_view>

#include "http/tls.h"

namespace virga::http::wire {

using Timeout = std::chrono::milliseconds;

/// A connected descriptor, and TLS over it if there is any.
struct Channel {
  int fd;
  TlsStream* tls = nullptr;
};

/// Sends as much of head then body as the socket takes at once. Bytes sent, or -1 if the connection is dead.
ssize_t send_now(Channel to, std::string_view head, std::string_view body);
/// Sends all; false if the peer went away or took nothing for `timeout`.
bool send_all(Channel to, std::string_view bytes, Timeout timeout);
/// Waits for data. > 0 bytes, 0 at end of stream, -1 on error or timeout (errno tells).
ssize_t receive(Channel from, std::span<char> into, Timeout timeout);
/// Whether receive() would give something at once.
bool is_readable(Channel from);
/// False on timeout.
bool wait_for(int fd, short events, Timeout timeout);

}  // namespace virga::http::wire
