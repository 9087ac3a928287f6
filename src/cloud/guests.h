#pragma once

#include <chrono>

#include "cloud/engines.h"

namespace virga::cloud {

/// Presses the power button of every running guest of this cloud and waits until all are off, so that their file systems
/// are whole. What is still up after the deadline is left for stop_guests. Never throws: a libvirtd that does not answer
/// only means that the deadline passes.
void shut_guests_down(const Engines& engines, std::chrono::milliseconds deadline);

/// Powers this cloud's guests on the distribution's libvirtd off, and with `undefine` removes their domains.
/// (Those of our own libvirtd: stop_guests.)
void end_system_guests(const Engines& engines, bool undefine);

}  // namespace virga::cloud
