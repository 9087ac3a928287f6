// Images as qemu-img makes them, and as somebody with bad intent would.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "base/process.h"
#include "qemu/api.h"

namespace virga::qemu {
namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/virga-qemu-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path); }
  std::string file(const std::string& name) const { return path + "/" + name; }
  std::string path;
};

void qemu_img(std::vector<std::string> arguments) {
  Command command;
  command.argv = std::move(arguments);
  command.argv.insert(command.argv.begin(), "qemu-img");
  run_or_throw(command);
}

ImageInfo inspect(const std::string& bytes, uint64_t total = 0) {
  ImageInspector inspector;
  for (size_t i = 0; i < bytes.size(); i += 7) inspector.feed(std::string_view(bytes).substr(i, 7));
  return inspector.finish(total ? total : bytes.size());
}

TEST(Image, Qcow2OfBothVersions) {
  TempDir dir;
  for (const char* compat : {"compat=0.10", "compat=1.1"}) {
    qemu_img({"create", "-q", "-f", "qcow2", "-o", compat, dir.file("a"), "10M"});
    auto info = probe_image(dir.file("a"));
    EXPECT_EQ(info.format, "qcow2");
    EXPECT_EQ(info.virtual_size, 10u << 20);
    EXPECT_FALSE(info.names_other_file);
    EXPECT_EQ(info.problem, "");
    EXPECT_EQ(inspect(read_file(dir.file("a"))).problem, "");
    EXPECT_NO_THROW(require_bootable(info, "qcow2"));
    EXPECT_THROW(require_bootable(info, "raw"), Fault);
  }
}

TEST(Image, FilesThatNameOtherFilesAreRefused) {
  TempDir dir;
  qemu_img({"create", "-q", "-f", "raw", dir.file("base"), "1M"});
  qemu_img({"create", "-q", "-f", "qcow2", "-F", "raw", "-b", dir.file("base"), dir.file("overlay")});
  auto info = probe_image(dir.file("overlay"));
  EXPECT_TRUE(info.names_other_file);
  EXPECT_EQ(info.other_file, dir.file("base"));
  EXPECT_THROW(require_bootable(info, "qcow2"), Fault);

  qemu_img({"create", "-q", "-f", "qcow2", "-o", "data_file=" + dir.file("data"), dir.file("split"), "1M"});
  info = probe_image(dir.file("split"));
  EXPECT_TRUE(info.names_other_file);
  EXPECT_EQ(info.other_file, dir.file("data"));
  EXPECT_NE(info.problem, "");
}

TEST(Image, OtherFormatsAreKnown) {
  TempDir dir;
  for (std::string format : {"vmdk", "vdi", "vhdx", "qed"}) {
    qemu_img({"create", "-q", "-f", format, dir.file(format), "4M"});
    EXPECT_EQ(probe_image(dir.file(format)).format, format);
  }
  qemu_img({"create", "-q", "-f", "vpc", dir.file("dynamic"), "4M"});
  EXPECT_EQ(probe_image(dir.file("dynamic")).format, "vhd");
  qemu_img({"create", "-q", "-f", "vpc", "-o", "subformat=fixed", dir.file("fixed"), "4M"});
  EXPECT_EQ(probe_image(dir.file("fixed")).format, "vhd");
  qemu_img({"create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", dir.file("flat"), "4M"});
  EXPECT_TRUE(probe_image(dir.file("flat")).names_other_file);
  EXPECT_EQ(inspect("just bytes").format, "raw");
  EXPECT_NE(inspect("").problem, "");
}

TEST(Image, DamagedHeadersAreReportedNotTrusted) {
  TempDir dir;
  qemu_img({"create", "-q", "-f", "qcow2", dir.file("a"), "10M"});
  const auto good = read_file(dir.file("a"));
  auto damaged = [&](size_t offset, char value) {
    auto bytes = good;
    bytes[offset] = value;
    return inspect(bytes).problem;
  };
  EXPECT_NE(damaged(7, 9), "");       // version
  EXPECT_NE(damaged(23, 40), "");     // cluster bits
  EXPECT_NE(damaged(24, 0x7f), "");   // virtual size
  EXPECT_NE(damaged(40, 0x7f), "");   // L1 offset
  EXPECT_NE(damaged(72, 1), "");      // unknown incompatible feature
  EXPECT_NE(damaged(79, 2), "");      // corrupt
  EXPECT_NE(damaged(79, 4), "");      // data file
  EXPECT_NE(damaged(100, 1), "");     // header length
  EXPECT_NE(damaged(116, 0x7f), "");  // extension length
  EXPECT_NE(inspect(good.substr(0, 40)).problem, "");
  EXPECT_NE(inspect(good.substr(0, 90)).problem, "");
  for (size_t n = 0; n < 600; ++n) inspect(good.substr(0, n));
}

TEST(Image, OverlayGrowsAndRefusesToShrink) {
  TempDir dir;
  create_empty(dir.file("base"), MiB{8});
  create_overlay(dir.file("base"), "qcow2", dir.file("disk"), MiB{32});
  create_overlay(dir.file("base"), "qcow2", dir.file("disk"), MiB{16});
  auto info = probe_image(dir.file("disk"));
  EXPECT_EQ(info.virtual_size, 16u << 20);
  EXPECT_EQ(info.other_file, dir.file("base"));
  EXPECT_THROW(create_overlay(dir.file("base"), "qcow2", dir.file("disk"), MiB{4}), Fault);
  EXPECT_THROW(create_overlay(dir.file("none"), "qcow2", dir.file("disk"), MiB{4}), Fault);
  EXPECT_THROW(create_overlay("json:{}", "raw", dir.file("disk"), MiB{4}), Fault);
  grow_image(dir.file("disk"), "qcow2", MiB{64});
  EXPECT_EQ(probe_image(dir.file("disk")).virtual_size, 64u << 20);
  convert_image(dir.file("base"), "qcow2", dir.file("raw"), "raw");
  EXPECT_EQ(std::filesystem::file_size(dir.file("raw")), 8u << 20);
}

TEST(Image, AnOverlayFromElsewhereStandsOnOurBaseOrIsRefused) {
  TempDir dir;
  create_empty(dir.file("base"), MiB{8});
  create_empty(dir.file("theirs"), MiB{8});
  create_overlay(dir.file("theirs"), "qcow2", dir.file("disk"), MiB{16});
  adopt_overlay(dir.file("disk"), dir.file("base"), "qcow2");
  EXPECT_EQ(probe_image(dir.file("disk")).other_file, dir.file("base"));
  EXPECT_EQ(probe_image(dir.file("disk")).virtual_size, 16u << 20);
  const auto refusal = [&](const std::string& bytes) {
    write_file(dir.file("bad"), bytes);
    try {
      adopt_overlay(dir.file("bad"), dir.file("base"), "qcow2");
    } catch (const Fault& fault) {
      return fault.message;
    }
    return std::string();
  };
  EXPECT_NE(refusal("not a disk").find("no qcow2"), std::string::npos);
  std::string data_file = read_file(dir.file("disk"));
  data_file[79] |= 4;  // incompatible feature: the data is in another file
  EXPECT_NE(refusal(data_file), "");
  create_empty(dir.file("small"), MiB{4});
  EXPECT_NE(refusal(read_file(dir.file("small"))).find("fewer than its image's"), std::string::npos);
}

TEST(Image, ConfigDriveIsAnIsoWithItsLabelAndNames) {
  TempDir dir;
  auto path = dir.file("disk.config");
  write_config_drive(path, {{"openstack/latest/meta_data.json", "{\"uuid\": \"x\"}"},
                            {"openstack/latest/network_data.json", "{}"},
                            {"openstack/content/0000", std::string(100000, 'y')}});
  auto info = probe_image(path);
  EXPECT_EQ(info.format, "iso");
  EXPECT_EQ(info.problem, "");
  Command blkid{.argv = {"blkid", "-p", "-o", "value", "-s", "LABEL", path}};
  EXPECT_EQ(run_or_throw(blkid), "config-2\n");
  auto bytes = read_file(path);
  EXPECT_NE(bytes.find("meta_data.json"), std::string::npos) << "Rock Ridge name";
  EXPECT_NE(bytes.find(std::string("m\0e\0t\0a\0_", 9)), std::string::npos) << "Joliet name";
  EXPECT_THROW(write_config_drive(path, {{"../evil", ""}}), Fault);
}

}  // namespace
}  // namespace virga::qemu
