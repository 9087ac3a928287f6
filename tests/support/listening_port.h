#pragma once
// The port that the kernel chose for a socket listening on port 0.

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>

namespace virga::test {

inline uint16_t port_of(int listening) {
  sockaddr_in address{};
  socklen_t length = sizeof address;
  getsockname(listening, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

}  // namespace virga::test
