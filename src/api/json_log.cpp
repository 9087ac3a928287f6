#include "api/json_log.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"

namespace virga::api {

JsonLog::JsonLog(Options options) : options_(std::move(options)), fd_(open_file()) {
  if (fd_ < 0)
    throw Fault(FaultKind::internal, fmt::format("{} cannot be opened: {}.", options_.path, strerror(errno)),
                "Is the log directory there, and writable?");
}

JsonLog::~JsonLog() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
  close(fd_);
}

int JsonLog::open_file() const {
  return ::open(options_.path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
}

void JsonLog::write(std::string_view line) {
  bool first = false;
  {
    std::lock_guard lock(mutex_);
    if (waiting_.text.size() + line.size() + 1 > options_.max_waiting) {
      ++lost_;
      return;
    }
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    first = waiting_.text.empty();
    waiting_.text.append(line).push_back('\n');
    ++waiting_.lines;
  }
  if (first) work_.notify_one();  // the others of its batch need not wake anybody
}

void JsonLog::reopen() {
  flush();  // what came before belongs to the old file
  const int fd = open_file();
  if (fd < 0)
    return log::error("{} cannot be reopened ({}); going on with the old file", options_.path,
                      strerror(errno));
  std::lock_guard lock(file_mutex_);
  close(std::exchange(fd_, fd));
}

void JsonLog::flush() {
  std::unique_lock lock(mutex_);
  const uint64_t wanted = taken_ + (waiting_.text.empty() ? 0 : 1);
  hurry_ = true;
  work_.notify_one();
  written_.wait(lock, [&] { return done_ >= wanted; });
}

uint64_t JsonLog::lost() const {
  std::lock_guard lock(mutex_);
  return lost_;
}

void JsonLog::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stop_ || !waiting_.text.empty(); });
    if (waiting_.text.empty()) return;
    // Let a batch gather: a write for each line would cost more than the request that it is about.
    work_.wait_for(lock, options_.batch_every,
                   [this] { return stop_ || hurry_ || waiting_.text.size() > options_.max_waiting / 2; });
    hurry_ = false;
    Batch batch = std::exchange(waiting_, {});
    const uint64_t missing = lost_ - std::exchange(told_, lost_);
    ++taken_;
    lock.unlock();
    write_out(std::move(batch), missing);
    lock.lock();
    done_ = taken_;
    written_.notify_all();
  }
}

/// On the writer's thread.
void JsonLog::write_out(Batch batch, uint64_t missing) {
  if (missing > 0) {
    log::warn("{}: {} lines were lost", options_.path, missing);
    const Time now = SystemClock().now();
    batch.text += fmt::format("{{\"time\":\"{}\",\"lost_lines\":{}}}\n", to_iso_us(now), missing);
  }
  if (broken_line_) batch.text.insert(0, 1, '\n');
  std::lock_guard file(file_mutex_);
  if (write_all(batch.text)) {
    complained_ = false;
    return;
  }
  if (!std::exchange(complained_, true))
    log::error("{} cannot be written: {}", options_.path, strerror(errno));
  std::lock_guard lock(mutex_);
  lost_ += batch.lines;
}

bool JsonLog::write_all(std::string_view text) {
  broken_line_ = false;
  const size_t whole = text.size();
  while (!text.empty()) {
    const ssize_t n = ::write(fd_, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      broken_line_ = text.size() < whole;
      return false;
    }
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void append_foreign_text(std::string& out, std::string_view text) {
  const auto is_plain = [](unsigned char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; };
  out += '"';
  size_t plain = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (is_plain(c)) continue;
    out.append(text, plain, i - plain);
    plain = i + 1;
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
  }
  out.append(text, plain);
  out += '"';
}

void append_foreign_member(std::string& out, std::string_view name, std::string_view text) {
  if (out.back() != '{') out += ',';
  out += '"';
  out += name;
  out += "\":";
  append_foreign_text(out, text);
}

}  // namespace virga::api
