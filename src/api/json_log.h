#pragma once
// A log of JSON lines that costs its writers next to nothing: a line is appended to a buffer in memory, and a
// thread of its own writes what has gathered, in batches. The buffer is bounded; what does not fit is
// counted, and the next batch says how many lines are missing. A crash loses at most what came in the last
// `batch_every`.
//
// Rotation: rename the file, then reopen() (SIGHUP of `virga serve`). Thread-safe.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"

namespace virga::api {

class JsonLog {
 public:
  struct Options {
    std::string path;
    size_t max_waiting = 8 << 20;  ///< bytes in memory
    std::chrono::milliseconds batch_every{100};
  };
  /// Opens (appending, mode 0640). Throws Fault(internal) if that fails. The thread starts with the first
  /// line, so that a log may be opened before a process gives up its rights.
  explicit JsonLog(Options options);
  ~JsonLog();  ///< writes what is left
  JsonLog(const JsonLog&) = delete;
  JsonLog& operator=(const JsonLog&) = delete;

  /// One line, without its line break.
  void write(std::string_view line);
  /// Opens the path anew, as after a rotation. If that fails, says so in the process's log and goes on with
  /// the old file.
  void reopen();
  /// Returns when everything written before is in the file.
  void flush();
  /// Lines lost so far, to a full buffer or a failed write.
  uint64_t lost() const;
  const std::string& path() const { return options_.path; }

 private:
  struct Batch {
    std::string text;
    uint64_t lines = 0;
  };
  int open_file() const;
  void run();
  void write_out(Batch batch, uint64_t missing);
  bool write_all(std::string_view text);

  const Options options_;
  mutable std::mutex mutex_;
  std::condition_variable work_, written_;
  Batch waiting_;
  uint64_t lost_ = 0, told_ = 0;   // lines; told_: those that the file speaks of
  uint64_t taken_ = 0, done_ = 0;  // batches
  bool stop_ = false, hurry_ = false;
  std::mutex file_mutex_;
  int fd_ = -1;
  bool broken_line_ = false, complained_ = false;  // the writer thread's
  std::thread thread_;
};

/// Appends text from outside as a JSON string. Bytes above 0x7f are taken for Latin-1, so that the line is
/// valid JSON whatever a client sent.
void append_foreign_text(std::string& out, std::string_view text);
/// Appends a member of an object being written, with the comma before it if it is not the first.
void append_foreign_member(std::string& out, std::string_view name, std::string_view text);

}  // namespace virga::api
