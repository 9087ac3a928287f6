#pragma once
// What both engines' migrations share: cutting SQL into statements, and holding the history to the files.
//
// The table schema_migrations says what was applied. It must be a prefix of what this binary knows, by number, name
// and checksum: a migration that was applied is never edited, removed, or preceded by a new one.

#include <span>
#include <string>
#include <vector>

#include "db/connection.h"

namespace virga::db {

struct Applied {
  int number;
  std::string name, checksum;
};

/// Statements of a migration: each ends with ";" at the end of a line; lines that start with "--" are dropped.
std::vector<std::string> split_statements(std::string_view sql);
std::string checksum_of(const Migration& migration);
void create_history(Connection& connection);
bool has_history(Connection& connection);
std::vector<Applied> read_history(Connection& connection);
void record_applied(Connection& connection, const Migration& migration);
/// The oldest schema whose binary the database still serves; a migration that breaks older ones raises it (table
/// schema_compatibility). INT_MAX if it does not say.
int oldest_served(Connection& connection, const std::vector<Applied>& applied);
/// Those still to run. A history that is newer than `known` is as good if it says that it serves `known` too (`oldest`): then
/// nothing is to be done. Throws Fault(conflict) if it is newer and does not, or disagrees with `known`.
std::span<const Migration> pending(const std::vector<Applied>& applied, const std::vector<Migration>& known, int oldest);
/// Fault(internal) unless numbers increase strictly and names are there.
void check_numbering(const std::vector<Migration>& known);

}  // namespace virga::db
