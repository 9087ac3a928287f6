#include "api/process_metrics.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string_view>

namespace virga::api {
namespace {

void add(std::string& out, std::string_view name, std::string_view type, std::string_view help,
         double value) {
  fmt::format_to(std::back_inserter(out), "# HELP {0} {1}\n# TYPE {0} {2}\n{0} {3}\n", name, help, type,
                 value);
}

std::string slurp(const char* path) {
  std::ifstream in(path);
  return std::string((std::istreambuf_iterator<char>(in)), {});
}

/// Seconds since the epoch at which the machine booted.
double boot_time() {
  const std::string stat = slurp("/proc/stat");
  const size_t at = stat.find("\nbtime ");
  return at == std::string::npos ? 0 : std::strtod(stat.c_str() + at + 7, nullptr);
}

/// Those of /proc/self/stat (proc(5)), counted from 1.
void write_stat(std::string& out) {
  const std::string text = slurp("/proc/self/stat");
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return;
  std::istringstream in(text.substr(name_end + 2));
  double field[25] = {};
  std::string state;
  in >> state;
  for (int i = 4; i < 25; ++i) in >> field[i];
  if (!in) return;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK)),
             page = static_cast<double>(sysconf(_SC_PAGESIZE));
  add(out, "process_cpu_seconds_total", "counter", "CPU time used, user and system.",
      (field[14] + field[15]) / ticks);
  add(out, "process_threads", "gauge", "Threads.", field[20]);
  add(out, "process_start_time_seconds", "gauge", "Start of the process, seconds since the epoch.",
      boot_time() + field[22] / ticks);
  add(out, "process_virtual_memory_bytes", "gauge", "Address space.", field[23]);
  add(out, "process_resident_memory_bytes", "gauge", "Resident memory.", field[24] * page);
}

}  // namespace

void write_process_metrics(std::string& out) {
  write_stat(out);
  std::error_code error;
  double open = -1;  // the descriptor that reads the folder
  for (auto it = std::filesystem::directory_iterator("/proc/self/fd", error);
       !error && it != std::filesystem::directory_iterator(); it.increment(error))
    ++open;
  if (!error && open >= 0) add(out, "process_open_fds", "gauge", "Open file descriptors.", open);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    add(out, "process_max_fds", "gauge", "Most file descriptors it may open.",
        static_cast<double>(limit.rlim_cur));
}

}  // namespace virga::api
