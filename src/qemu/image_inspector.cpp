// Header parsers for untrusted images: bounded reads of a window kept in memory, no allocation by a header's
// say-so.

#include <fmt/format.h>

#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "qemu/api.h"

namespace virga::qemu {

namespace {

constexpr uint64_t kMaxVirtualSize = uint64_t{1} << 56;

/// Big-endian reads that give 0 outside the window.
class Bytes {
 public:
  explicit Bytes(std::string_view data) : data_(data) {}
  bool has(uint64_t offset, uint64_t count) const {
    return offset <= data_.size() && count <= data_.size() - offset;
  }
  uint32_t u32(uint64_t offset) const { return static_cast<uint32_t>(number(offset, 4)); }
  uint64_t u64(uint64_t offset) const { return number(offset, 8); }
  std::string_view text(uint64_t offset, uint64_t count) const {
    return has(offset, count) ? data_.substr(offset, count) : std::string_view{};
  }
  bool starts(uint64_t offset, std::string_view magic) const { return text(offset, magic.size()) == magic; }
  size_t size() const { return data_.size(); }

 private:
  uint64_t number(uint64_t offset, int count) const {
    if (!has(offset, count)) return 0;
    uint64_t value = 0;
    for (int i = 0; i < count; ++i) value = value << 8 | static_cast<unsigned char>(data_[offset + i]);
    return value;
  }
  std::string_view data_;
};

std::string printable(std::string_view name) {
  std::string out(name.substr(0, 1023));
  for (auto& c : out) {
    if (!std::isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return out;
}

void complain(ImageInfo& info, std::string problem) {
  if (info.problem.empty()) info.problem = std::move(problem);
}

struct Qcow2 {
  uint32_t version, backing_length, cluster_bits, crypt;
  uint64_t backing_offset, virtual_size, l1_entries, l1_offset, incompatible = 0;
  uint32_t header_length = 72;
};

constexpr uint64_t kDirty = 1, kCorrupt = 2, kDataFile = 4, kCompression = 8, kExtendedL2 = 16;

Qcow2 read_qcow2(const Bytes& head) {
  Qcow2 h{};
  h.version = head.u32(4);
  h.backing_offset = head.u64(8);
  h.backing_length = head.u32(16);
  h.cluster_bits = head.u32(20);
  h.virtual_size = head.u64(24);
  h.crypt = head.u32(32);
  h.l1_entries = head.u32(36);
  h.l1_offset = head.u64(40);
  h.header_length = 72;
  if (h.version >= 3) {
    h.incompatible = head.u64(72);
    h.header_length = head.u32(100);
  }
  return h;
}

void check_qcow2_sizes(const Qcow2& h, const Bytes& head, uint64_t total, ImageInfo& info) {
  if (head.size() < 72 || (h.version >= 3 && head.size() < 104))
    complain(info, "The qcow2 header is cut off.");
  if (h.version != 2 && h.version != 3)
    complain(info, fmt::format("qcow2 version {} is not known.", h.version));
  if (h.cluster_bits < 9 || h.cluster_bits > 21) {
    complain(info, fmt::format("The qcow2 cluster size of 2^{} is out of range.", h.cluster_bits));
    return;
  }
  uint64_t cluster = uint64_t{1} << h.cluster_bits;
  if (h.version >= 3 && (h.header_length < 104 || h.header_length > cluster || h.header_length % 8 != 0)) {
    complain(info, fmt::format("The qcow2 header length of {} is out of range.", h.header_length));
  }
  if (h.virtual_size > kMaxVirtualSize) complain(info, "The qcow2 virtual size is out of range.");
  if (h.l1_offset % cluster != 0 || h.l1_offset >= total || h.l1_entries > (32u << 20) / 8 ||
      h.l1_entries * 8 > total - h.l1_offset) {
    if (h.virtual_size > 0)
      complain(info, "The qcow2 L1 table lies outside the file: it is truncated or damaged.");
  }
}

void check_qcow2_features(const Qcow2& h, ImageInfo& info) {
  if (h.incompatible & kDataFile) {
    info.names_other_file = true;
    complain(info, "The image keeps its data in another file (external data file).");
  }
  if (h.incompatible & kCorrupt) complain(info, "The qcow2 header is marked as corrupt.");
  uint64_t unknown = h.incompatible & ~(kDirty | kCorrupt | kDataFile | kCompression | kExtendedL2);
  if (unknown) complain(info, fmt::format("The qcow2 header needs unknown features ({:#x}).", unknown));
  info.encrypted = h.crypt != 0;
  if (h.crypt > 2) complain(info, fmt::format("qcow2 encryption method {} is not known.", h.crypt));
}

void check_qcow2_backing(const Qcow2& h, const Bytes& head, ImageInfo& info) {
  if (h.backing_offset == 0) return;
  info.names_other_file = true;
  if (h.backing_length <= 1023) info.other_file = printable(head.text(h.backing_offset, h.backing_length));
  complain(info, fmt::format("The image refers to another file as its backing file ({}).",
                             info.other_file.empty() ? "name not readable" : info.other_file));
}

// Extensions end with type 0, at the backing file's name, or at the end of the first cluster.
void walk_qcow2_extensions(const Qcow2& h, const Bytes& head, ImageInfo& info) {
  constexpr uint32_t kDataFileName = 0x44415441;
  uint64_t at = h.version >= 3 ? h.header_length : 72;
  uint64_t end = std::min<uint64_t>(uint64_t{1} << std::min(h.cluster_bits, 21u), head.size());
  if (h.backing_offset > at) end = std::min(end, h.backing_offset);
  while (at + 8 <= end) {
    uint32_t type = head.u32(at), length = head.u32(at + 4);
    at += 8;
    if (type == 0) return;
    if (length > end - at) {
      complain(info, "A qcow2 header extension is longer than the header.");
      return;
    }
    if (type == kDataFileName) {
      info.names_other_file = true;
      info.other_file = printable(head.text(at, length));
      complain(info, fmt::format("The image keeps its data in another file ({}).", info.other_file));
    }
    at += (uint64_t{length} + 7) / 8 * 8;
  }
}

ImageInfo inspect_qcow2(const Bytes& head, uint64_t total) {
  ImageInfo info;
  info.format = "qcow2";
  auto h = read_qcow2(head);
  info.virtual_size = h.virtual_size;
  check_qcow2_features(h, info);
  check_qcow2_backing(h, head, info);
  check_qcow2_sizes(h, head, total, info);
  walk_qcow2_extensions(h, head, info);
  return info;
}

struct Magic {
  uint64_t offset;
  std::string_view bytes;
  const char* format;
};
using namespace std::string_view_literals;
constexpr std::array<Magic, 11> kMagics{{
    {0, "QFI\xfb\0\0\0\1"sv, "qcow"},
    {0, "QED\0"sv, "qed"},
    {0, "KDMV"sv, "vmdk"},
    {0, "COWD"sv, "vmdk"},
    {0, "# Disk DescriptorFile"sv, "vmdk"},
    {64, "\x7f\x10\xda\xbe"sv, "vdi"},
    {0, "vhdxfile"sv, "vhdx"},
    {0, "conectix"sv, "vhd"},
    {0, "LUKS\xba\xbe"sv, "luks"},
    {0x8001, "CD001"sv, "iso"},
    {0x8001, "NSR0"sv, "iso"},
}};

std::string format_by_magic(const Bytes& head, std::string_view tail) {
  for (const auto& magic : kMagics) {
    if (head.starts(magic.offset, magic.bytes)) return magic.format;
  }
  return tail.starts_with("conectix") ? "vhd" : "raw";
}

// QED and qcow version 1 name a backing file in their header, a VMDK descriptor lists its extents' files.
void note_other_files(const Bytes& head, ImageInfo& info) {
  bool qcow1 = info.format == "qcow" && head.u64(8) != 0;
  bool qed = info.format == "qed" &&
             (static_cast<unsigned char>(head.text(16, 1).empty() ? 0 : head.text(16, 1)[0]) & 1);
  bool descriptor = head.starts(0, "# Disk DescriptorFile");
  info.names_other_file = qcow1 || qed || descriptor;
  info.encrypted = info.format == "luks";
  if (info.names_other_file) complain(info, fmt::format("The {} image refers to another file.", info.format));
}

}  // namespace

void ImageInspector::feed(std::string_view bytes) {
  if (head_.size() < window) head_.append(bytes.substr(0, window - head_.size()));
  keep_vhd_footer(bytes);
}

void ImageInspector::keep_vhd_footer(std::string_view bytes) {
  constexpr size_t footer = 512;
  if (bytes.size() >= footer) {
    tail_.assign(bytes.substr(bytes.size() - footer));
    return;
  }
  tail_.append(bytes);
  if (tail_.size() > footer) tail_.erase(0, tail_.size() - footer);
}

ImageInfo ImageInspector::finish(uint64_t total_size) const {
  Bytes head(head_);
  uint32_t version = head.u32(4);
  if (head.starts(0, "QFI\xfb"sv) && version != 1) return inspect_qcow2(head, total_size);
  ImageInfo info;
  info.format = format_by_magic(head, tail_);
  info.virtual_size = total_size;
  note_other_files(head, info);
  if (total_size == 0) complain(info, "The image has no bytes.");
  return info;
}

ImageInfo probe_image(const std::string& path) {
  std::error_code error;
  auto size = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) throw Fault(FaultKind::not_found, fmt::format("Image file {} cannot be read.", path));
  ImageInspector inspector;
  std::string buffer(std::min<uint64_t>(size, ImageInspector::window), '\0');
  in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
  inspector.feed(std::string_view(buffer).substr(0, static_cast<size_t>(in.gcount())));
  if (size > buffer.size()) {
    in.clear();
    in.seekg(static_cast<std::streamoff>(size - 512));
    buffer.resize(512);
    in.read(buffer.data(), 512);
    inspector.feed(std::string_view(buffer).substr(0, static_cast<size_t>(in.gcount())));
  }
  return inspector.finish(size);
}

void require_bootable(const ImageInfo& info, std::string_view disk_format) {
  if (!info.problem.empty()) {
    throw Fault(FaultKind::bad_request, "Image is unacceptable: " + info.problem,
                "Flatten it with `qemu-img convert -O qcow2`, then upload the result.");
  }
  // A boot image of a raw format may be anything a disk can hold; only a container format of its own is a
  // lie.
  bool raw = (disk_format == "raw" || disk_format == "iso" || disk_format == "ami" || disk_format == "aki" ||
              disk_format == "ari") &&
             (info.format == "raw" || info.format == "iso");
  if (raw || info.format == disk_format) return;
  throw Fault(FaultKind::bad_request,
              fmt::format("Image is declared as {} but its bytes are {}.", disk_format, info.format),
              fmt::format("Upload it again with --disk-format {}.", info.format));
}

}  // namespace virga::qemu
