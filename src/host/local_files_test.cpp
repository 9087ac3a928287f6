// The image cache, the journal and the consoles: what touches real files and sockets.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/crypto.h"
#include "base/process.h"
#include "host/consoles.h"
#include "host/image_cache.h"
#include "host/journal.h"

namespace virga::host {
namespace {

const ServerId kA("aaaaaaaa-0000-4000-8000-000000000001");

class LocalFiles : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/virga-files-XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  link::ImageRef image(const std::string& content, const std::string& format = "raw") {
    Digest digest("sha512");
    digest.update(content);
    return {ImageId(kA.str()), format, content.size(), digest.finish_hex()};
  }
  FetchImage fetcher(std::string content) {
    return [this, content](const ImageId&, uint64_t from, const link::ImageSink& sink) {
      ++fetches_;
      for (size_t at = from; at < content.size(); at += 1000) sink(at, std::string_view(content).substr(at, 1000));
    };
  }
  FaultKind refusal(const link::ImageRef& ref, const std::string& content) {
    ImageCache cache(dir_ + "/images");
    try {
      cache.ensure(ref, fetcher(content));
    } catch (const Fault& fault) {
      EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/images"));
      return fault.kind;
    }
    return FaultKind::multiple_choices;
  }

  std::string dir_;
  int fetches_ = 0;
};

TEST_F(LocalFiles, FetchesAnImageOnceAndAgainWhenTruncated) {
  const std::string content(5000, 'x');
  ImageCache cache(dir_ + "/images");
  const auto path = cache.ensure(image(content), fetcher(content));
  EXPECT_EQ(read_file(path), content);
  struct stat st;
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0444u);
  cache.ensure(image(content), fetcher(content));
  EXPECT_EQ(fetches_, 1);
  ASSERT_EQ(::truncate(path.c_str(), 100), 0);
  cache.ensure(image(content), fetcher(content));
  EXPECT_EQ(fetches_, 2);
  EXPECT_EQ(read_file(path), content);
}

TEST_F(LocalFiles, RefusesABrokenImageForEver) {
  const std::string content(5000, 'x');
  auto other = content;
  other[7] = 'y';
  EXPECT_EQ(refusal(image(content), other), FaultKind::unprocessable);
  EXPECT_EQ(refusal(image(content), content + "more"), FaultKind::unprocessable);
  EXPECT_EQ(refusal(image(content), content.substr(0, 10)),
            FaultKind::unprocessable);  // a cut-off connection throws; this is the store's file
  EXPECT_EQ(refusal(image(content, "qcow2"), content), FaultKind::unprocessable);
  std::string qcow2("QFI\xfb\0\0\0\3", 8);  // names a backing file
  qcow2.resize(200'000);
  qcow2[15] = 112, qcow2[19] = 6, qcow2[23] = 16, qcow2[29] = 1, qcow2[103] = 104;
  std::memcpy(qcow2.data() + 112, "/etc/x", 6);
  EXPECT_EQ(refusal(image(qcow2, "qcow2"), qcow2), FaultKind::unprocessable);
}

/// A connection that breaks at the third piece, and what was asked for then.
class BrokenWay {
 public:
  explicit BrokenWay(std::string content) : content_(std::move(content)) {}
  FetchImage until(uint64_t end, uint64_t begin_at_most = UINT64_MAX) {
    return [this, end, begin_at_most](const ImageId&, uint64_t from, const link::ImageSink& sink) {
      asked.push_back(from);
      for (uint64_t at = std::min(from, begin_at_most); at < content_.size(); at += 1000) {
        if (at >= end) throw Fault(FaultKind::unavailable, "it broke");
        sink(at, std::string_view(content_).substr(at, 1000));
      }
    };
  }
  std::vector<uint64_t> asked;

 private:
  const std::string content_;
};

std::string pattern(size_t size) {
  std::string text;
  for (size_t i = 0; text.size() < size; ++i) text += std::to_string(i);
  text.resize(size);
  return text;
}

TEST_F(LocalFiles, AnImageGoesOnWhereItBroke) {
  const std::string content = pattern(5000);
  BrokenWay way(content);
  const auto ref = image(content);
  EXPECT_THROW(ImageCache(dir_ + "/images").ensure(ref, way.until(2000)), Fault);
  EXPECT_THROW(ImageCache(dir_ + "/images").ensure(ref, way.until(3000)), Fault);
  const auto path = ImageCache(dir_ + "/images").ensure(ref, way.until(9000));
  EXPECT_EQ(way.asked, (std::vector<uint64_t>{0, 2000, 3000}));
  EXPECT_EQ(read_file(path), content);
  EXPECT_FALSE(std::filesystem::exists(path + ".part"));
}

TEST_F(LocalFiles, AnOlderControllerSendsAnImageFromItsBeginning) {
  const std::string content = pattern(5000);
  BrokenWay way(content);
  ImageCache cache(dir_ + "/images");
  EXPECT_THROW(cache.ensure(image(content), way.until(2000)), Fault);
  EXPECT_EQ(read_file(cache.ensure(image(content), way.until(9000, 0))), content);
}

TEST_F(LocalFiles, WhatAnEarlierDownloadLeftIsNotBelieved) {
  const std::string content = pattern(5000);
  BrokenWay way(content);
  ImageCache cache(dir_ + "/images");
  const auto part = cache.path_of(image(content)) + ".part";
  write_file(part, std::string(3000, '\0'));  // power was lost before it was on the disk
  EXPECT_EQ(read_file(cache.ensure(image(content), way.until(9000))), content);
  EXPECT_EQ(way.asked, (std::vector<uint64_t>{3000, 0}));
}

TEST_F(LocalFiles, NothingIsLeftOfAnImageThatCannotBeVerifiedLater) {
  const std::string content = pattern(5000);
  BrokenWay way(content);
  auto ref = image(content);
  ref.sha512.clear();
  EXPECT_THROW(ImageCache(dir_ + "/images").ensure(ref, way.until(2000)), Fault);
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/images"));
}

TEST_F(LocalFiles, AHalfImageThatNobodyWantsAnyMoreIsRemoved) {
  namespace fs = std::filesystem;
  ImageCache(dir_ + "/images");
  for (const auto* name : {"old.img.part", "new.img.part", "old.img"}) write_file(dir_ + "/images/" + name, "x");
  for (const auto* name : {"old.img.part", "old.img"})
    fs::last_write_time(dir_ + "/images/" + name, fs::file_time_type::clock::now() - std::chrono::hours(25));
  ImageCache(dir_ + "/images");
  EXPECT_FALSE(fs::exists(dir_ + "/images/old.img.part"));
  EXPECT_TRUE(fs::exists(dir_ + "/images/new.img.part"));
  EXPECT_TRUE(fs::exists(dir_ + "/images/old.img"));
}

TEST_F(LocalFiles, JournalKeepsTheHighestAndIgnoresATornLine) {
  const auto path = dir_ + "/journal";
  {
    Journal journal(path);
    journal.raise(3, {{kA, 7}});
    journal.raise(2, {{kA, 5}});
    journal.set_applied(kA, 4);
    journal.set_done({OperationId("op"), 9, false, "no\nway"});
  }
  {
    const auto text = read_file(path);
    write_file(path, text + "fence " + kA.str() + " 99");
  }
  Journal journal(path);
  EXPECT_EQ(journal.epoch(), 3);
  EXPECT_EQ(journal.fence(kA), 7);
  EXPECT_EQ(journal.applied(kA), 4);
  ASSERT_TRUE(journal.done(OperationId("op")));
  EXPECT_EQ(journal.done(OperationId("op"))->message, "no way");
}

TEST_F(LocalFiles, TailReadsAcrossARotatedLog) {
  write_file(dir_ + "/console.log", "new\n");
  write_file(dir_ + "/console.log.0", "older\nold\n");
  EXPECT_EQ(read_tail(dir_ + "/console.log", 3), "ew\n");
  EXPECT_EQ(read_tail(dir_ + "/console.log", 8), "old\nnew\n");
  EXPECT_EQ(read_tail(dir_ + "/none", 8), "");
}

/// A serial socket as QEMU's: takes one client, echoes.
class FakeSerial {
 public:
  explicit FakeSerial(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    listen_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::bind(listen_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ::listen(listen_, 1);
    thread_ = std::thread([this] {
      const int fd = ::accept(listen_, nullptr, nullptr);
      char buffer[100];
      for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;)
        if (std::string_view(buffer, n) == "off" || ::write(fd, buffer, n) < 0) break;
      ::close(fd);
    });
  }
  ~FakeSerial() {
    ::shutdown(listen_, SHUT_RDWR);
    thread_.join();
    ::close(listen_);
  }

 private:
  int listen_;
  std::thread thread_;
};

struct Viewer {
  std::shared_ptr<link::ByteStream> stream;
  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
  bool ended = false;
  explicit Viewer(std::shared_ptr<link::ByteStream> s) : stream(std::move(s)) {
    stream->on_bytes([this](std::string_view bytes) {
      std::lock_guard lock(mutex);
      text += bytes;
      ended = ended || bytes.empty();
      changed.notify_all();
    });
  }
  ~Viewer() { stream.reset(); }
  bool wait(const std::function<bool()>& condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), condition);
  }
};

TEST_F(LocalFiles, ManyViewersShareOneSerialConnection) {
  const auto path = dir_ + "/serial.sock";
  Consoles consoles;
  EXPECT_THROW(consoles.open_serial(kA, path), Fault);
  FakeSerial serial(path);
  Viewer first(consoles.open_serial(kA, path));
  first.stream->write("login: ");
  ASSERT_TRUE(first.wait([&] { return first.text == "login: "; }));
  Viewer second(consoles.open_serial(kA, path));
  EXPECT_TRUE(second.wait([&] { return second.text == "login: "; }));  // recent output is shown at once
  second.stream->write("root");
  EXPECT_TRUE(first.wait([&] { return first.text == "login: root"; }));
  EXPECT_TRUE(second.wait([&] { return second.text == "login: root"; }));
  first.stream->write("off");
  EXPECT_TRUE(first.wait([&] { return first.ended; }));
  EXPECT_TRUE(second.wait([&] { return second.ended; }));
}

}  // namespace
}  // namespace virga::host
