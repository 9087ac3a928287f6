#include "qemu/archive_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <memory>

#include "base/fault.h"

namespace virga::qemu {

namespace {

using Entry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;
using Reader = std::unique_ptr<archive, decltype(&archive_read_free)>;

[[noreturn]] void fail(archive* a, const std::string& doing) {
  const char* why = archive_error_string(a);
  throw Fault(FaultKind::internal, fmt::format("Could not {}: {}", doing, why ? why : "unknown error"));
}

// No times, owners or inode numbers of this host: equal content gives equal bytes.
Entry entry_of(const std::string& path, unsigned type, unsigned mode) {
  Entry entry(archive_entry_new(), archive_entry_free);
  archive_entry_set_pathname(entry.get(), path.c_str());
  archive_entry_set_filetype(entry.get(), type);
  archive_entry_set_perm(entry.get(), mode);
  archive_entry_set_mtime(entry.get(), 0, 0);
  archive_entry_set_size(entry.get(), 0);
  return entry;
}

}  // namespace

ArchiveWriter::ArchiveWriter(const std::string& path, const char* format, const std::string& options,
                             bool gzip)
    : archive_(archive_write_new()) {
  check(archive_write_set_format_by_name(archive_, format));
  if (gzip) check(archive_write_add_filter_gzip(archive_));
  if (!options.empty()) check(archive_write_set_options(archive_, options.c_str()));
  check(archive_write_open_filename(archive_, path.c_str()));
}

ArchiveWriter::~ArchiveWriter() {
  archive_write_free(archive_);
}

void ArchiveWriter::check(int result) {
  if (result < ARCHIVE_WARN) fail(archive_, "write an archive");
}

void ArchiveWriter::directory(const std::string& path, unsigned mode) {
  check(archive_write_header(archive_, entry_of(path, AE_IFDIR, mode).get()));
}

void ArchiveWriter::file(const std::string& path, std::string_view content, unsigned mode) {
  auto entry = entry_of(path, AE_IFREG, mode);
  archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  check(archive_write_header(archive_, entry.get()));
  if (archive_write_data(archive_, content.data(), content.size()) !=
      static_cast<la_ssize_t>(content.size())) {
    fail(archive_, "write " + path);
  }
}

void ArchiveWriter::link(const std::string& path, const std::string& target) {
  auto entry = entry_of(path, AE_IFLNK, 0777);
  archive_entry_set_symlink(entry.get(), target.c_str());
  check(archive_write_header(archive_, entry.get()));
}

void ArchiveWriter::device(const std::string& path, unsigned mode, unsigned major, unsigned minor) {
  auto entry = entry_of(path, AE_IFCHR, mode);
  archive_entry_set_rdevmajor(entry.get(), major);
  archive_entry_set_rdevminor(entry.get(), minor);
  check(archive_write_header(archive_, entry.get()));
}

void ArchiveWriter::close() {
  check(archive_write_close(archive_));
}

namespace {

void copy_data(archive* from, archive* to, const std::string& name) {
  const void* block;
  size_t size;
  la_int64_t offset;
  while (archive_read_data_block(from, &block, &size, &offset) == ARCHIVE_OK) {
    if (archive_write_data_block(to, block, size, offset) < ARCHIVE_WARN) fail(to, "unpack " + name);
  }
}

la_ssize_t read_member(archive*, void* outer, const void** block) {
  static thread_local char buffer[64 * 1024];
  *block = buffer;
  return archive_read_data(static_cast<archive*>(outer), buffer, sizeof buffer);
}

void unpack_tar(archive* outer, const std::string& directory,
                const std::function<std::string(const std::string&)>& place) {
  Reader tar(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(tar.get());
  archive_read_support_filter_all(tar.get());
  if (archive_read_open(tar.get(), outer, nullptr, read_member, nullptr) != ARCHIVE_OK)
    fail(tar.get(), "read data.tar");
  std::unique_ptr<archive, decltype(&archive_write_free)> disk(archive_write_disk_new(), archive_write_free);
  archive_write_disk_set_options(
      disk.get(), ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_SYMLINKS);
  archive_entry* entry;
  while (archive_read_next_header(tar.get(), &entry) == ARCHIVE_OK) {
    std::string name = archive_entry_pathname(entry);
    if (name.starts_with("./")) name.erase(0, 2);
    if (name.empty() || archive_entry_filetype(entry) == AE_IFDIR || archive_entry_hardlink(entry)) continue;
    auto to = place(name);
    if (to.empty()) continue;
    archive_entry_set_pathname(entry, (directory + "/" + to).c_str());
    if (archive_write_header(disk.get(), entry) < ARCHIVE_WARN) fail(disk.get(), "unpack " + name);
    copy_data(tar.get(), disk.get(), name);
  }
}

}  // namespace

void unpack_deb(const std::string& deb, const std::string& directory,
                const std::function<std::string(const std::string&)>& place) {
  Reader ar(archive_read_new(), archive_read_free);
  archive_read_support_format_ar(ar.get());
  if (archive_read_open_filename(ar.get(), deb.c_str(), 64 * 1024) != ARCHIVE_OK)
    fail(ar.get(), "open " + deb);
  archive_entry* entry;
  while (archive_read_next_header(ar.get(), &entry) == ARCHIVE_OK) {
    std::string name = archive_entry_pathname(entry);
    if (!name.starts_with("data.tar")) continue;
    unpack_tar(ar.get(), directory, place);
    return;
  }
  throw Fault(FaultKind::internal, fmt::format("{} is not a Debian package.", deb),
              "Remove it from the package cache; it is fetched again.");
}

}  // namespace virga::qemu
