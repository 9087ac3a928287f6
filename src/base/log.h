#pragma once
// spdlog under one include. Messages say what happened to which resource; secrets never go in.

#include <spdlog/spdlog.h>

namespace virga::log {

using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;

/// Sends the process's log to a file (appending), or to standard error if the path is empty.
/// `level` is spdlog's name: "debug", "info", "warn". Call once, before threads start.
void open(const char* program, const char* path, const char* level);

}  // namespace virga::log
