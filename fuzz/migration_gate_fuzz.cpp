// What another host's libvirt sends while a server comes: nothing of it crashes the gate, and what passes came in.
#include "base/fault.h"
#include "libvirt/migration_gate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  virga::libvirt::GateKeeper keeper({"instance-1", "<domain><name>instance-1</name><devices/></domain>", "unix:///run/m/memory.sock",
                                        "unix:///run/m/disk.sock"});
  std::string passed;
  try {
    for (size_t at = 0; at < bytes.size(); at += 64) passed += keeper.pass(bytes.substr(at, 64));
  } catch (const virga::Fault&) {
  }
  if (bytes.substr(0, passed.size()) != passed) __builtin_trap();
  return 0;
}
