#include <arpa/inet.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>

#include "base/netns.h"

namespace virga::netns {
namespace {

uint16_t checksum(const void* data, size_t size) {
  uint32_t sum = 0;
  const auto* words = static_cast<const uint16_t*>(data);
  for (size_t i = 0; i < size / 2; ++i) sum += words[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

/// One of its own for each ping on this machine, most likely; never 0, which connection tracking takes for none.
uint16_t next_identifier() {
  static std::atomic<unsigned> count{0};
  return htons(static_cast<uint16_t>(1 + (static_cast<unsigned>(getpid()) * 61 + count++) % 0xfffe));
}

bool answered(int fd, uint16_t id, const sockaddr_in& peer, int timeout_ms) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd in{fd, POLLIN, 0};
    if (left <= 0 || poll(&in, 1, static_cast<int>(left)) <= 0) return false;
    char packet[1500];
    sockaddr_in from{};
    socklen_t size = sizeof from;
    const ssize_t n = recvfrom(fd, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&from), &size);
    const size_t header = n > 0 ? static_cast<size_t>(packet[0] & 15) * 4 : 0;
    if (n < static_cast<ssize_t>(header + sizeof(icmphdr)) || from.sin_addr.s_addr != peer.sin_addr.s_addr) continue;
    icmphdr echo;
    memcpy(&echo, packet + header, sizeof echo);
    if (echo.type == ICMP_ECHOREPLY && echo.un.echo.id == id) return true;
  }
}

}  // namespace

bool ping(const std::string& name, const std::string& address, int timeout_ms) {
  return call_in(name, [&] {
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    if (inet_pton(AF_INET, address.c_str(), &peer.sin_addr) != 1) return false;
    const int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (fd < 0) return false;
    icmphdr echo{};
    echo.type = ICMP_ECHO;
    echo.un.echo.id = next_identifier();
    echo.checksum = checksum(&echo, sizeof echo);
    const bool sent = sendto(fd, &echo, sizeof echo, 0, reinterpret_cast<sockaddr*>(&peer), sizeof peer) == sizeof echo;
    const bool ok = sent && answered(fd, echo.un.echo.id, peer, timeout_ms);
    close(fd);
    return ok;
  });
}

}  // namespace virga::netns
