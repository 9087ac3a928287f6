#include "link/disk_transfer.h"

#include "link/convert.h"
#include "link/status.h"

namespace virga::link {

namespace {
constexpr size_t kWaiting = 8;  // pieces
constexpr std::chrono::seconds kFirstPiece{30}, kNextPiece{60};
}  // namespace

std::optional<v1::DiskPiece> DiskTransfer::take() {
  std::unique_lock lock(mutex_);
  const auto patience = begun_ ? kNextPiece : kFirstPiece;
  changed_.wait_for(lock, patience, [this] { return ended_ || !broken_.empty() || !pieces_.empty(); });
  if (!pieces_.empty()) {
    v1::DiskPiece piece = std::move(pieces_.front());
    pieces_.pop_front();
    begun_ = true;
    changed_.notify_all();
    return piece;
  }
  if (ended_) return std::nullopt;
  if (broken_.empty()) broken_ = "the host that has it sends nothing";
  throw Fault(FaultKind::unavailable, "the disk did not come: " + broken_);
}

bool DiskTransfer::put(v1::DiskPiece piece) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !broken_.empty() || pieces_.size() < kWaiting; });
  if (!broken_.empty()) return false;
  pieces_.push_back(std::move(piece));
  changed_.notify_all();
  return true;
}

void DiskTransfer::ended() {
  std::lock_guard lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

void DiskTransfer::break_off(const std::string& why) {
  std::lock_guard lock(mutex_);
  if (broken_.empty()) broken_ = why;
  changed_.notify_all();
}

void send_disk(grpc::ClientWriter<v1::DiskPiece>& out, uint64_t request, const std::function<AgentSide::Disk()>& open) {
  v1::DiskPiece piece;
  piece.set_request(request);
  try {
    const auto disk = open();
    piece.set_size(disk.size);
    std::string buffer(kPieceSize, '\0');
    while (const size_t got = disk.bytes->read({buffer.data(), buffer.size()})) {
      piece.set_bytes(buffer.data(), got);
      if (!out.Write(piece)) return;
      piece.Clear();
    }
    piece.set_last(true);
  } catch (const Fault& fault) {
    piece.set_cause(fault.message);
    piece.set_hint(fault.hint);
  } catch (const std::exception& e) {
    piece.set_cause(e.what());
  }
  out.Write(piece);
}

void receive_disk(grpc::ClientContext& context, grpc::ClientReader<v1::DiskPiece>& in,
                  const std::function<void(std::string_view)>& sink) {
  v1::DiskPiece piece;
  uint64_t size = 0, got = 0;
  bool whole = false;
  std::optional<Fault> refused;
  try {
    while (in.Read(&piece)) {
      if (piece.size()) size = piece.size();
      if (!piece.cause().empty()) refused = Fault(FaultKind::unavailable, piece.cause(), piece.hint());
      got += piece.bytes().size();
      if (got > size) throw Fault(FaultKind::unavailable, "more of the disk came than its host said that it has");
      if (!piece.bytes().empty()) sink(piece.bytes());
      whole = piece.last();
    }
  } catch (...) {
    context.TryCancel();
    in.Finish();
    throw;
  }
  const auto status = in.Finish();
  if (refused) throw *refused;
  if (!status.ok()) throw to_fault(status, "cannot fetch the disk");
  if (!whole || got != size)
    throw Fault(FaultKind::unavailable, fmt::format("the disk did not come whole: {} of {} bytes", got, size));
}

}  // namespace virga::link
