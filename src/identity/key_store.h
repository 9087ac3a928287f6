#pragma once
// Where a KeyRing's keys are kept: in the database, each sealed with the master key, so that all controllers have the same
// ones and a rotation on one of them is a rotation on all.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace virga::db {
class Database;
class Tx;
}  // namespace virga::db

namespace virga::identity {

/// A set of keys at one version; numbers ascend. 0 is staged, the highest is primary.
struct StoredKeys {
  int64_t version = 0;
  std::vector<std::string> secrets;  ///< in the order of their numbers
};

/// Thread-safe.
class KeyStore {
 public:
  virtual ~KeyStore() = default;
  /// The keys, if their version is higher. `tx`: read in it (inside of a closure of the database); null: in a read of its own.
  virtual std::optional<StoredKeys> newer_than(int64_t version, db::Tx* tx) = 0;
  /// See KeyRing::rotate.
  virtual size_t rotate(size_t keep, std::chrono::seconds used) = 0;
};

/// The ring `name` of the database. Made at its first use, by whichever controller is first: of the keys in `import_dir` (files
/// named by their numbers, as keystone's Fernet repository, where earlier versions kept them), if there are any. Files whose
/// keys are in the database are removed. Throws Fault(unavailable) if this master key did not seal what is there.
std::unique_ptr<KeyStore> database_keys(db::Database& database, std::string name, std::string master_key,
                                        const std::string& import_dir);

/// True if the database holds keys, so that a missing master key is not to be made anew.
bool holds_keys(db::Database& database);

}  // namespace virga::identity
