#include "host/journal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <sstream>

#include "base/process.h"

namespace virga::host {

namespace {
constexpr size_t kMaxDone = 1000;  // results of actions kept for a controller that missed the report
}

Journal::Journal(const std::string& path) {
  if (std::filesystem::exists(path)) load(read_file(path));
  write_file(path, compacted(), 0600);
  fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0)
    throw Fault(FaultKind::internal, fmt::format("cannot write {}: {}", path, std::strerror(errno)),
                "Check the permissions and the free space of the agent's state folder.");
}

Journal::~Journal() {
  ::close(fd_);
}

void Journal::load(const std::string& text) {
  size_t at = 0;
  // A line without its end was being written when the process died: it counts as not written.
  for (size_t end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    std::istringstream line(text.substr(at, end - at));
    std::string kind, id;
    int64_t value = 0;
    line >> kind;
    if (kind == "epoch" && line >> value)
      epoch_ = std::max(epoch_, value);
    else if (kind == "fence" && line >> id >> value)
      servers_[id].fence = std::max(servers_[id].fence, value);
    else if (kind == "applied" && line >> id >> value)
      servers_[id].applied = value;
    else if (kind == "done" && line >> id >> value) {
      int ok = 0;
      line >> ok;
      std::string message;
      std::getline(line >> std::ws, message);
      remember({OperationId(id), value, ok != 0, message});
    }
  }
}

std::string Journal::compacted() const {
  std::string out = fmt::format("epoch {}\n", epoch_);
  for (const auto& [id, s] : servers_)
    out += fmt::format("fence {} {}\napplied {} {}\n", id, s.fence, id, s.applied);
  for (const auto& id : done_order_) {
    const auto& d = done_.at(id);
    out += fmt::format("done {} {} {} {}\n", id, d.fence, d.ok ? 1 : 0, d.message);
  }
  return out;
}

void Journal::append(const std::string& lines, bool sync) {
  if (lines.empty()) return;
  const bool ok = ::write(fd_, lines.data(), lines.size()) == static_cast<ssize_t>(lines.size());
  if (!ok || (sync && ::fdatasync(fd_) != 0))
    throw Fault(FaultKind::unavailable,
                fmt::format("cannot write the agent's journal: {}", std::strerror(errno)),
                "Free some space in the agent's state folder.");
}

int64_t Journal::epoch() const {
  std::lock_guard lock(mutex_);
  return epoch_;
}

int64_t Journal::fence(const ServerId& server) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(server.str());
  return it == servers_.end() ? 0 : it->second.fence;
}

int64_t Journal::applied(const ServerId& server) const {
  std::lock_guard lock(mutex_);
  auto it = servers_.find(server.str());
  return it == servers_.end() ? 0 : it->second.applied;
}

std::map<ServerId, int64_t> Journal::all_applied() const {
  std::lock_guard lock(mutex_);
  std::map<ServerId, int64_t> all;
  for (const auto& [id, server] : servers_) all.emplace(ServerId(id), server.applied);
  return all;
}

std::optional<link::ActionReport> Journal::done(const OperationId& operation) const {
  std::lock_guard lock(mutex_);
  auto it = done_.find(operation.str());
  if (it == done_.end()) return std::nullopt;
  return it->second;
}

void Journal::raise(int64_t epoch, const std::vector<std::pair<ServerId, int64_t>>& fences) {
  std::lock_guard lock(mutex_);
  std::string lines;
  if (epoch > epoch_) lines += fmt::format("epoch {}\n", epoch);
  for (const auto& [id, fence] : fences) {
    auto it = servers_.find(id.str());
    if (it == servers_.end() || it->second.fence < fence)
      lines += fmt::format("fence {} {}\n", id.str(), fence);
  }
  append(lines, true);
  epoch_ = std::max(epoch_, epoch);
  for (const auto& [id, fence] : fences) servers_[id.str()].fence = std::max(servers_[id.str()].fence, fence);
}

void Journal::set_applied(const ServerId& server, int64_t generation) {
  std::lock_guard lock(mutex_);
  auto& s = servers_[server.str()];
  if (s.applied == generation) return;
  append(fmt::format("applied {} {}\n", server.str(), generation), false);
  s.applied = generation;
}

void Journal::remember(link::ActionReport report) {
  const auto id = report.operation.str();
  if (done_.insert_or_assign(id, std::move(report)).second) done_order_.push_back(id);
  if (done_order_.size() <= kMaxDone) return;
  done_.erase(done_order_.front());
  done_order_.pop_front();
}

void Journal::set_done(const link::ActionReport& report, bool durable) {
  std::lock_guard lock(mutex_);
  auto kept = report;
  std::replace(kept.message.begin(), kept.message.end(), '\n', ' ');
  append(fmt::format("done {} {} {} {}\n", kept.operation.str(), kept.fence, kept.ok ? 1 : 0, kept.message),
         durable);
  remember(std::move(kept));
}

}  // namespace virga::host
