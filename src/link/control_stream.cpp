#include "link/control_stream.h"

#include "base/log.h"
#include "link/status.h"

namespace virga::link {

void ControlStream::begin(std::shared_ptr<ControlStream> self) {
  self_ = std::move(self);
  read_next();
}

void ControlStream::read_next() {
  std::lock_guard lock(mutex_);
  if (!finished_) StartRead(&in_);
}

void ControlStream::OnReadDone(bool ok) {
  if (!ok) return finish(grpc::Status::OK);
  if (greeted_ && in_.body_case() == v1::AgentMessage::kHeartbeat) {
    owner_.heartbeat(*this, in_.heartbeat());
    return read_next();
  }
  {
    std::lock_guard lock(mutex_);
    handling_ = true;
  }
  pool_.post([self = self_] {
    self->handle(self);
    self->handled();
  });
}

void ControlStream::handled() {
  {
    std::lock_guard lock(mutex_);
    handling_ = false;
    if (!done_) return read_next();
  }
  owner_.closed(*this);
}

void ControlStream::handle(const std::shared_ptr<ControlStream>& self) try {
  if (!greeted_) return handle_hello(self);
  if (in_.body_case() != v1::AgentMessage::kObservation) return owner_.message(*this, in_);
  if (!partial_) partial_ = std::make_unique<Observation>(), partial_bytes_ = 0;
  partial_bytes_ += in_.observation().ByteSizeLong();
  if (partial_bytes_ > kMaxWhole) throw Fault(FaultKind::bad_request, "the observation is too large");
  append(*partial_, in_.observation());
  if (in_.observation().more()) return;
  const auto whole = std::move(partial_);
  owner_.observed(*this, *whole);
} catch (const Fault& fault) {
  // Cut: the agent reconnects and sends a full observation, so nothing is lost by a failed one.
  log::warn("agent link: host {}: {}", host_.str(), fault.message);
  finish(to_status(fault));
} catch (const std::exception& e) {
  log::error("agent link: host {}: {}", host_.str(), e.what());
  finish({grpc::INTERNAL, e.what()});
}

void ControlStream::handle_hello(const std::shared_ptr<ControlStream>& self) {
  if (in_.body_case() != v1::AgentMessage::kHello)
    throw Fault(FaultKind::bad_request, "the agent's first message must be its greeting");
  if (in_.hello().major() != kMajor)
    throw Fault(FaultKind::precondition_failed,
                fmt::format("the agent speaks version {}.{} of the link, this controller {}.{}.",
                            in_.hello().major(), in_.hello().minor(), kMajor, kMinor),
                "Install the same major version of virga on both.");
  greeted_ = true;
  owner_.hello(self, from_wire(in_.hello()));
}

bool ControlStream::send(v1::ControllerMessage message) {
  std::lock_guard lock(mutex_);
  if (finished_) return false;
  out_bytes_ += message.ByteSizeLong();
  out_.push_back(std::move(message));
  if (out_bytes_ > kMaxWhole) {
    finish({grpc::RESOURCE_EXHAUSTED, "the agent does not read what it is sent"});
    return false;
  }
  write_next();
  return true;
}

bool ControlStream::send_after_welcome(v1::ControllerMessage message) {
  std::lock_guard lock(mutex_);
  if (welcomed_) return send(std::move(message));
  if (finished_) return false;
  held_.push_back(std::move(message));
  return true;
}

void ControlStream::release() {
  std::lock_guard lock(mutex_);
  welcomed_ = true;
  for (auto& m : held_) send(std::move(m));
  held_.clear();
}

void ControlStream::write_next() {
  if (writing_ || finished_ || out_.empty()) return;
  writing_ = true;
  StartWrite(&out_.front());
}

void ControlStream::OnWriteDone(bool ok) {
  std::lock_guard lock(mutex_);
  writing_ = false;
  if (!ok) return finish(grpc::Status::CANCELLED);
  out_bytes_ -= out_.front().ByteSizeLong();
  out_.pop_front();
  write_next();
}

void ControlStream::finish(const grpc::Status& status) {
  std::lock_guard lock(mutex_);
  if (finished_) return;
  finished_ = true;
  Finish(status);
}

void ControlStream::OnDone() {
  const auto self = std::move(self_);
  {
    std::lock_guard lock(mutex_);
    done_ = true;
    if (handling_) return;  // handled() tells the owner, so that nothing of this stream reaches it after closed()
  }
  pool_.post([self] { self->owner_.closed(*self); });  // on the pool: it calls into the controller
}

}  // namespace virga::link
