#pragma once
// The numbers of this process that every Prometheus client library gives, under their usual names.

#include <string>

namespace virga::api {

/// Appends process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
/// process_threads, process_cpu_seconds_total and process_start_time_seconds, in text exposition format. What
/// the kernel does not tell is left out.
void write_process_metrics(std::string& out);

}  // namespace virga::api
