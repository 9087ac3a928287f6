#pragma once
// A write-ahead log that is written in few system calls. Internal to the db module.

#include <string>

namespace virga::db {

/// The name of an SQLite VFS that passes everything to the one named `base` ("" = the default), except that what is
/// appended to a write-ahead log is gathered and written at the next sync. SQLite writes each page of a commit with two system calls
/// (24 bytes, then the page), some eighty for a booted server, which cost more than the rest of the commit.
///
/// Right only for connections with `PRAGMA synchronous = FULL`: there a commit syncs its log before it tells other
/// connections of its pages (sqlite.org/wal.html), so nobody looks for what is still gathered; its own connection's
/// reads write it first. What a crash loses had not been synced. An error in writing is the sync's, and fails the commit.
/// Thread-safe.
std::string gathering_vfs(const std::string& base);

}  // namespace virga::db
