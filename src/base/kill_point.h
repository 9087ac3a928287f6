#pragma once
// Places where a crash test makes the process die as `kill -9` would: no destructor, no flush, no goodbye.
//
// The environment variable VIRGA_KILL_POINT names one point ("agent.after_disk"). With VIRGA_KILL_POINT_ONCE
// set to a file's path the point kills only if it can create that file, so that a supervised restart then
// passes it.
//
// VIRGA_KILL_POINT_FILE is for clouds that run on between the crashes: a process that comes to a point whose name
// stands in that file removes the file and dies.

#include <string_view>

namespace virga {

/// Ends the process with status 137 if the environment names this point.
void kill_point(std::string_view name);

}  // namespace virga
