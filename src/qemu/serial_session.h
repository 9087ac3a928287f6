#pragma once
// A QEMU whose serial console is its standard input and output, for tests and probes that boot a guest
// without libvirt.

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace virga::qemu {

class SerialSession {
 public:
  explicit SerialSession(const std::vector<std::string>& argv);
  ~SerialSession();  ///< kills QEMU if it still runs
  SerialSession(const SerialSession&) = delete;
  SerialSession& operator=(const SerialSession&) = delete;

  /// Waits until `text` appears after what was matched before. False at the deadline or when QEMU ended.
  bool expect(const std::string& text, std::chrono::milliseconds deadline);
  void send(const std::string& text);
  /// Runs a shell command in a logged-in session and returns what it printed.
  std::string command(const std::string& line, std::chrono::milliseconds deadline = std::chrono::seconds(30));
  bool ended(std::chrono::milliseconds deadline);
  const std::string& output() const { return output_; }

 private:
  bool read_some(std::chrono::milliseconds wait);
  pid_t pid_ = -1;
  int fd_ = -1;
  std::string output_;
  size_t matched_ = 0;
  int commands_ = 0;
};

}  // namespace virga::qemu
