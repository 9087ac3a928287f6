#pragma once
// How this process uses memory: glibc's allocator, tuned for many threads that do little each.

#include <string>
#include <vector>

namespace virga {

/// Lets each thread keep up to 300 freed chunks of a size for itself, where glibc keeps 7: a list's answer is made of
/// some ten thousand short texts, and returning each to the shared heap costs more than copying it. glibc reads the
/// setting (GLIBC_TUNABLES, glibc manual, "Memory Allocation Tunables") only when a program starts: without
/// `thread_caches_environment` the program starts itself anew, once, with the same arguments and open files. What the
/// operator set there himself stays. If that is not possible, nothing happens. Call it first in a process that serves,
/// before threads and files.
void prefer_thread_caches();
/// What a program that calls `prefer_thread_caches` is to be started with, as "NAME=value", to start only once. Empty if
/// the operator has a setting of his own.
std::vector<std::string> thread_caches_environment();

/// Two arenas instead of eight per core, and what a large answer took is kept for the next instead of being returned
/// to the kernel and faulted in again. To be called before threads start.
void tune_allocator();

/// Gives free memory back to the kernel; for quiet moments.
void release_free_memory();

}  // namespace virga
