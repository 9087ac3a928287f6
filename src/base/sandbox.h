#pragma once
// A seccomp filter for a process that has nothing left to set up: the kernel's calls that start programs,
// look into other processes, change namespaces and mounts, load code into the kernel or reach its key rings
// then fail with EPERM.
//
// A list of what is refused, not of what is allowed: which calls a C library, OpenSSL or gRPC need changes
// with each of their releases, and a cloud that dies of a glibc update is worse than what the list leaves
// open.

namespace virga {

/// For the whole process, all its threads and children, for good. Refused calls reach the kernel's audit log.
/// Needs PR_SET_NO_NEW_PRIVS, which it sets. False (and nothing is changed) if the kernel has no seccomp
/// filters; throws Fault(internal) if it has and refuses ours.
bool enter_sandbox();

}  // namespace virga
