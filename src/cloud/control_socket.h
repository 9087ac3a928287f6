#pragma once
// How `virga status`, `virga service` and `virga down` talk to the supervisor: one JSON object a line over a unix
// socket that only root opens. {"command":"status"} or {"command":"restart","service":"nova-api"}; the answer is an
// object, with "error" and "hint" if it was refused.

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "base/json.h"

namespace virga::cloud {

class ControlSocket {
 public:
  /// `answer` runs on the socket's thread, must be quick, and may throw Fault.
  ControlSocket(const std::string& path, std::function<json::object(const json::object&)> answer);
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

 private:
  void serve();
  void converse(int client);

  const std::string path_;
  std::function<json::object(const json::object&)> answer_;
  int fd_ = -1, wake_fd_ = -1;
  std::thread thread_;
};

/// Asks the supervisor at `path`. Throws Fault(unavailable) if none answers, or the fault it answered with.
json::object ask(const std::string& path, const json::object& request);

}  // namespace virga::cloud
