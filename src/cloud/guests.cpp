#include "cloud/guests.h"

#include <algorithm>
#include <thread>

#include "base/fault.h"
#include "base/log.h"
#include "cloud/supervised_process.h"
#include "libvirt/api.h"

namespace virga::cloud {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Asks each running guest; returns how many there are.
size_t ask_all(host::Hypervisor& hypervisor, bool press) {
  size_t running = 0;
  for (const auto& domain : hypervisor.list()) {
    if (!domain.ours || domain.power != host::DomainPower::running) continue;
    ++running;
    if (press) hypervisor.shutdown(domain.id);
  }
  return running;
}

std::unique_ptr<host::Hypervisor> reach(const Engines& engines) {
  libvirt::Options options;
  options.uri = "qemu+unix:///system?socket=" + engines.libvirt_socket;
  options.virt_type = engines.kvm ? "kvm" : "qemu";
  return libvirt::connect(options);
}

}  // namespace

void shut_guests_down(const Engines& engines, milliseconds deadline) {
  if (engines.none || !socket_answers(engines.libvirt_socket)) return;
  const auto hypervisor = reach(engines);
  const auto end = steady_clock::now() + deadline;
  auto next_press = steady_clock::now();
  while (steady_clock::now() < end) {
    try {
      const bool press = steady_clock::now() >= next_press;  // a guest that still boots misses the first one
      if (press) next_press += std::chrono::seconds(2);
      if (ask_all(*hypervisor, press) == 0) return;
    } catch (const Fault& fault) {
      log::warn("guests are being shut down: {}", fault.message);
    }
    std::this_thread::sleep_for(milliseconds(100));
  }
}

void end_system_guests(const Engines& engines, bool undefine) {
  if (engines.none || engines.own_libvirt || !socket_answers(engines.libvirt_socket)) return;
  const auto hypervisor = reach(engines);
  const auto end = steady_clock::now() + std::chrono::seconds(20);
  for (;;) {
    try {
      for (const auto& domain : hypervisor->list()) {
        if (!domain.ours) continue;
        hypervisor->destroy(domain.id);
        if (undefine) hypervisor->undefine(domain.id);
      }
      return;
    } catch (const Fault& fault) {  // the driver connects in the background
      if (fault.kind != FaultKind::unavailable || steady_clock::now() > end) throw;
    }
    std::this_thread::sleep_for(milliseconds(50));
  }
}

}  // namespace virga::cloud
