#include "libvirt/probe.h"

#include <libvirt/libvirt.h>

#include <thread>

namespace virga::libvirt {

// The thread belongs to nobody: it may be inside a call that never returns.
Probe::Probe(const std::string& uri, ProbeTimes times) : patience_(times.patience) {
  std::thread([state = state_, uri, every = times.every] { run(state, uri, every); }).detach();
}

Probe::~Probe() {
  std::lock_guard lock(state_->mutex);
  state_->stopping = true;
  state_->wake.notify_all();
}

bool Probe::hangs() const {
  std::lock_guard lock(state_->mutex);
  return state_->asked && Steady::now() - *state_->asked > patience_;
}

void Probe::run(const std::shared_ptr<State>& state, const std::string& uri, std::chrono::milliseconds every) {
  virConnectPtr connect = nullptr;
  std::unique_lock lock(state->mutex);
  while (!state->stopping) {
    state->asked = Steady::now();
    lock.unlock();
    unsigned long version = 0;
    if (!connect) connect = virConnectOpen(uri.c_str());
    const bool answers = connect && virConnectGetLibVersion(connect, &version) == 0;
    if (!answers && connect) {
      virConnectClose(connect);
      connect = nullptr;
    }
    lock.lock();
    state->asked.reset();
    state->wake.wait_for(lock, every, [&] { return state->stopping; });
  }
  lock.unlock();
  if (connect) virConnectClose(connect);
}

}  // namespace virga::libvirt
