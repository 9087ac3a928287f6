#pragma once
// Unix sockets, blocking. Descriptors are the caller's to close.

#include <array>
#include <string>

namespace virga {

/// Connects. Throws Fault(unavailable) if nobody listens there, Fault(internal) if the path is too long for a socket.
int connect_unix(const std::string& path);
/// Listens, in place of whatever was there; owner alone may connect. Throws Fault(unavailable).
int listen_unix(const std::string& path);
/// Two ends of one connection. Throws Fault(unavailable).
std::array<int, 2> socket_pair();
/// Sends all of it. False if the other end is gone.
bool send_all(int socket, const char* bytes, size_t size);

}  // namespace virga
