#pragma once
// A non-blocking stream socket to an OVSDB remote: "unix:/path" or "tcp:address:port" (numeric address).

#include <chrono>
#include <string>

namespace virga::ovn {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

/// Connects. Throws Fault(bad_request) if `remote` is neither form, Fault(unavailable) if nothing answers.
FileDescriptor connect_to(const std::string& remote, std::chrono::milliseconds timeout);

}  // namespace virga::ovn
