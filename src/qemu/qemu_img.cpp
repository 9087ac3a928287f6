// qemu-img, each run with limits: it is a parser of big formats in C and gets no more than it needs.

#include <sys/resource.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/process.h"
#include "qemu/api.h"

namespace virga::qemu {

namespace {

void limit(int what, rlim_t value) {
  rlimit r{value, value};
  setrlimit(static_cast<__rlimit_resource>(what), &r);
}

std::string run_qemu_img(std::vector<std::string> arguments, std::chrono::seconds timeout) {
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), "qemu-img");
  command.timeout = timeout;
  // On a slow disk it starts up to 64 threads, and an arena of malloc's for each would not fit into RLIMIT_AS.
  command.environment = {"MALLOC_ARENA_MAX=2"};
  auto cpu = static_cast<rlim_t>(timeout.count()) + 5;
  command.in_child = [cpu] {
    limit(RLIMIT_CPU, cpu);
    limit(RLIMIT_AS, rlim_t{1} << 30);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 64);
  };
  return run_or_throw(command);
}

constexpr std::chrono::seconds kShort{60};

// JSON and protocol prefixes in a name would make QEMU open something else than the file.
const std::string& plain(const std::string& path) {
  if (path.empty() || path[0] != '/') {
    throw Fault(FaultKind::internal, fmt::format("Image path {} is not absolute.", path));
  }
  return path;
}

/// Makes the file under a temporary name, so that a crash leaves no half-written image behind under the right
/// one.
template <class F>
void make_atomically(const std::string& path, F make) {
  auto temporary = plain(path) + ".part";
  make(temporary);
  std::error_code error;
  std::filesystem::rename(temporary, path, error);
  if (error) throw Fault(FaultKind::internal, fmt::format("Could not create {}: {}", path, error.message()));
}

uint64_t virtual_size_of(const std::string& path, std::string_view format, const ImageInfo& info) {
  return format == "raw" ? std::filesystem::file_size(path) : info.virtual_size;
}

std::string bytes_text(Bytes size) {
  return std::to_string(size.count);
}

}  // namespace

void create_overlay(const std::string& base_path, std::string_view base_format,
                    const std::string& overlay_path, Bytes virtual_size) {
  auto info = probe_image(plain(base_path));
  if (base_format == "qcow2" && info.format != "qcow2") {
    throw Fault(FaultKind::conflict, fmt::format("Base image {} is no longer a qcow2 image.", base_path),
                "Remove the host's cached copy; it is fetched again.");
  }
  const uint64_t base_size = virtual_size_of(base_path, base_format, info);
  if (virtual_size.count < base_size) {
    throw Fault(FaultKind::bad_request,
                fmt::format("The disk of {} bytes is smaller than its image of {} bytes.", virtual_size.count,
                            base_size),
                "Choose a flavor with a larger disk.");
  }
  make_atomically(overlay_path, [&](const std::string& temporary) {
    run_qemu_img({"create", "-q", "-f", "qcow2", "-F", std::string(base_format), "-b", base_path, temporary,
                  bytes_text(virtual_size)},
                 kShort);
  });
}

void adopt_overlay(const std::string& overlay_path, const std::string& base_path, std::string_view base_format) {
  {
    // qcow2's header: magic, version, then eight bytes that say where the backing file's name stands and four its length.
    std::fstream file(overlay_path, std::ios::in | std::ios::out | std::ios::binary);
    char magic[4] = {};
    if (!file.read(magic, sizeof magic) || std::string_view(magic, 4) != "QFI\xfb")
      throw Fault(FaultKind::bad_request, "The disk that came is no qcow2 image.");
    const char nothing[12] = {};
    file.seekp(8);
    if (!file.write(nothing, sizeof nothing).flush())
      throw Fault(FaultKind::unavailable, fmt::format("cannot write {}", overlay_path), "Free some space on the host.");
  }
  const auto info = probe_image(overlay_path);
  require_bootable(info, "qcow2");
  const uint64_t base_size = virtual_size_of(base_path, base_format, probe_image(plain(base_path)));
  if (info.virtual_size < base_size)
    throw Fault(FaultKind::bad_request, fmt::format("The disk that came has {} bytes, fewer than its image's {}.", info.virtual_size, base_size));
  run_qemu_img({"rebase", "-q", "-u", "-f", "qcow2", "-F", std::string(base_format), "-b", base_path, plain(overlay_path)}, kShort);
}

void create_empty(const std::string& path, Bytes virtual_size) {
  make_atomically(path, [&](const std::string& temporary) {
    run_qemu_img({"create", "-q", "-f", "qcow2", temporary, bytes_text(virtual_size)}, kShort);
  });
}

void grow_image(const std::string& path, std::string_view format, Bytes virtual_size) {
  run_qemu_img({"resize", "-q", "-f", std::string(format), plain(path), bytes_text(virtual_size)}, kShort);
}

void convert_image(const std::string& from, std::string_view from_format, const std::string& to,
                   std::string_view to_format, bool compress, std::chrono::seconds timeout) {
  make_atomically(to, [&](const std::string& temporary) {
    std::vector<std::string> arguments{
        "convert", "-q", "-f", std::string(from_format), "-O", std::string(to_format)};
    if (compress) arguments.push_back("-c");
    arguments.push_back(plain(from));
    arguments.push_back(temporary);
    run_qemu_img(std::move(arguments), timeout);
  });
}

}  // namespace virga::qemu
