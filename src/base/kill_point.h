#pragma once

namespace virga {

/// A place where a crash is worth testing. Ends the process as `kill -9` would (exit code 137, nothing flushed, no
/// destructors) when the environment's VIRGA_KILL_POINT equals `name`; otherwise it costs a comparison.
void kill_point(const char* name);

}  // namespace virga
