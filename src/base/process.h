#pragma once
// Running other programs: once with captured output, or as a long-lived child. No shell, ever.

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace virga {

struct Command {
  std::vector<std::string> argv;             ///< argv[0] is looked up in PATH
  std::vector<std::string> environment;      ///< "NAME=value" added to the inherited environment
  std::string input;                         ///< written to standard input
  std::string directory;                     ///< working directory; empty = inherited
  std::chrono::milliseconds timeout{60'000}; ///< then the child's process group is killed
  size_t max_output = 16 << 20;              ///< bytes kept of each stream
  std::function<void()> in_child;            ///< runs after fork, before exec (setns, rlimits); async-signal-safe calls only
};
// A child has no descriptor of ours but the three standard streams, and what in_child takes FD_CLOEXEC from.

struct Outcome {
  int exit_code = -1;  ///< 128 + signal if a signal ended it
  bool timed_out = false;
  std::string out, err;
  bool ok() const { return exit_code == 0; }
};

/// Runs to the end. Throws Fault(internal) only if the program could not be started at all.
Outcome run(const Command& command);
/// The same, and throws Fault(internal) with the last lines of standard error if it failed.
std::string run_or_throw(const Command& command);

/// Starts a long-lived child in a session of its own, standard output and error appended to `log_path`.
/// The caller supervises the pid. Throws Fault(internal) if the exec failed.
pid_t spawn(const Command& command, const std::string& log_path);

/// The start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); 0 if there is no such process.
/// With the pid it names a process for ever, so a recycled pid is never mistaken for a child of ours.
uint64_t process_start_ticks(pid_t pid);

/// Whole file as bytes; throws Fault(not_found) if it cannot be read.
std::string read_file(const std::string& path);
/// Writes through a temporary file, fsync and rename, so that readers see the old or the new content.
void write_file(const std::string& path, std::string_view content, mode_t mode = 0644);

}  // namespace virga
