#include "base/allocator.h"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/process.h"

namespace virga {
namespace {

constexpr const char *kVariable = "GLIBC_TUNABLES", *kSetting = "glibc.malloc.tcache_count=300";

}  // namespace

void tune_allocator() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 16 << 20);
}

void release_free_memory() {
  malloc_trim(0);
}

std::vector<std::string> thread_caches_environment() {
  if (std::getenv(kVariable)) return {};
  return {fmt::format("{}={}", kVariable, kSetting)};
}

void prefer_thread_caches() {
  if (const char* set = std::getenv(kVariable)) {
    if (std::string_view(set) == kSetting) unsetenv(kVariable);  // it has worked; programs started from here are not meant
    return;
  }
  std::error_code failed;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", failed);
  if (failed) return;
  std::string words = read_file("/proc/self/cmdline");
  std::vector<char*> argv;
  for (size_t at = 0; at < words.size(); at = words.find('\0', at) + 1) {
    argv.push_back(words.data() + at);
    if (words.find('\0', at) == std::string::npos) break;
  }
  argv.push_back(nullptr);
  setenv(kVariable, kSetting, 1);
  execv(program.c_str(), argv.data());
  unsetenv(kVariable);
}

}  // namespace virga
