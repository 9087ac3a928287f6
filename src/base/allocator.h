#pragma once
// How this process uses memory: glibc's allocator, tuned for many threads that do little each.

namespace virga {

/// Two arenas instead of eight per core, and what a large answer took is kept for the next instead of being returned
/// to the kernel and faulted in again. To be called before threads start.
void tune_allocator();

/// Gives free memory back to the kernel; for quiet moments.
void release_free_memory();

}  // namespace virga
