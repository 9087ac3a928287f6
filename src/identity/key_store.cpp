#include "identity/key_store.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sealing.h"
#include "db/api.h"

namespace virga::identity {
namespace {

constexpr size_t kKey = 32;

/// Number, text and path of each key file.
struct KeyFile {
  std::string secret;
  std::filesystem::path path;
};

std::map<int64_t, KeyFile> read_files(const std::string& directory) {
  std::map<int64_t, KeyFile> found;
  std::error_code none;
  if (directory.empty()) return found;
  for (const auto& entry : std::filesystem::directory_iterator(directory, none)) {
    const std::string name = entry.path().filename();
    int64_t number = -1;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc() || end != name.data() + name.size() || number < 0) continue;
    std::string text = read_file(entry.path()), key;
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
    if (base64_decode(text, key) && key.size() == kKey)
      found[number] = {key, entry.path()};
    else
      log::warn("Key {} is not {} bytes of base64; it is left out.", entry.path().string(), kKey);
  }
  return found;
}

class DatabaseKeys final : public KeyStore {
 public:
  DatabaseKeys(db::Database& database, std::string name, std::string master_key, const std::string& import_dir)
      : database_(database), name_(std::move(name)), master_key_(std::move(master_key)) {
    const auto files = read_files(import_dir);
    make(files);
    if (!files.empty()) remove_imported(files, import_dir);
  }

  std::optional<StoredKeys> newer_than(int64_t version, db::Tx* tx) override {
    if (tx) return read(*tx, version);
    return database_.read([&](db::Tx& own) { return read(own, version); });
  }

  size_t rotate(size_t keep, std::chrono::seconds used) override {
    const std::string staged = sealed(random_bytes(kKey));
    const size_t left = database_.write([&](db::Tx& tx) {
      tx.exec("UPDATE secret_key_rings SET version = version + 1 WHERE ring = ?", name_);  // first: rotations wait for each other
      const Time now = db::database_now(tx);
      auto numbers = numbers_of(tx);
      const int64_t primary = numbers.rbegin()->first + 1;
      tx.exec("UPDATE secret_keys SET number = ?, in_use_since = ? WHERE ring = ? AND number = 0", primary, now, name_);
      insert(tx, 0, staged, now);
      numbers[primary] = to_db(now);
      // The oldest first, but none that was in use so lately that what it sealed may still be held by someone.
      for (auto it = numbers.upper_bound(0); numbers.size() > std::max<size_t>(keep, 2) && it != numbers.end();) {
        const auto next = std::next(it);
        if (next == numbers.end() || next->second > to_db(now - used)) break;
        tx.exec("DELETE FROM secret_keys WHERE ring = ? AND number = ?", name_, it->first);
        it = numbers.erase(it);
      }
      return numbers.size();
    });
    kill_point("identity.keys_rotated");
    return left;
  }

 private:
  std::string purpose() const { return "key ring " + name_; }
  std::string sealed(std::string_view secret) const { return seal(master_key_, secret, purpose()); }

  void insert(db::Tx& tx, int64_t number, const std::string& sealed, Time now) const {
    tx.exec("INSERT INTO secret_keys (ring, number, sealed, in_use_since) VALUES (?, ?, ?, ?)", name_, number, sealed, now);
  }

  /// Since when each is in use, by number.
  std::map<int64_t, std::string> numbers_of(db::Tx& tx) const {
    std::map<int64_t, std::string> all;
    for (const auto& row : tx.query("SELECT number, in_use_since FROM secret_keys WHERE ring = ?", name_)) all[row.integer(0)] = row.text(1);
    return all;
  }

  bool exists(db::Tx& tx) const { return tx.first("SELECT 1 FROM secret_key_rings WHERE ring = ?", name_).has_value(); }

  void make(const std::map<int64_t, KeyFile>& files) {
    if (database_.read([&](db::Tx& tx) { return exists(tx); })) return;
    std::map<int64_t, std::string> keys;
    for (const auto& [number, file] : files) keys[number] = sealed(file.secret);
    if (!keys.contains(0)) keys[0] = sealed(random_bytes(kKey));
    if (keys.rbegin()->first == 0) keys[1] = sealed(random_bytes(kKey));
    try {
      database_.write([&](db::Tx& tx) {
        if (exists(tx)) return;
        tx.exec("INSERT INTO secret_key_rings (ring, version) VALUES (?, 1)", name_);
        const Time now = db::database_now(tx);
        for (const auto& [number, key] : keys) insert(tx, number, key, now);
      });
    } catch (const db::UniqueViolation&) {
      // another controller's count
    }
    kill_point("identity.keys_imported");
  }

  void remove_imported(const std::map<int64_t, KeyFile>& files, const std::string& directory) {
    const auto kept = newer_than(0, nullptr);
    const std::set<std::string> known(kept->secrets.begin(), kept->secrets.end());
    bool all = true;
    for (const auto& [number, file] : files) {
      if (known.contains(file.secret)) {
        std::filesystem::remove(file.path);
      } else {
        all = false;
        log::warn("The key {} is not among those in the database, and nothing uses it. Remove it if it is not another cloud's.",
                  file.path.string());
      }
    }
    if (!all) return;
    std::error_code ignored;
    std::filesystem::remove(directory + "/.lock", ignored);
    std::filesystem::remove(directory, ignored);
    log::info("the keys in {} are in the database now, sealed with the master key", directory);
  }

  std::optional<StoredKeys> read(db::Tx& tx, int64_t version) const {
    const auto row = tx.first("SELECT version FROM secret_key_rings WHERE ring = ?", name_);
    if (!row || row->integer(0) <= version) return std::nullopt;
    StoredKeys keys;
    keys.version = row->integer(0);
    for (const auto& key : tx.query("SELECT sealed FROM secret_keys WHERE ring = ? ORDER BY number", name_)) {
      auto secret = unseal(master_key_, key.text(0), purpose());
      if (!secret)
        throw Fault(FaultKind::unavailable, "The master key is not the one that sealed the keys in this database.",
                    "Copy control/master.key from a controller that works, or from the backup that belongs to this database.");
      keys.secrets.push_back(std::move(*secret));
    }
    return keys;
  }

  db::Database& database_;
  const std::string name_, master_key_;
};

}  // namespace

std::unique_ptr<KeyStore> database_keys(db::Database& database, std::string name, std::string master_key,
                                        const std::string& import_dir) {
  return std::make_unique<DatabaseKeys>(database, std::move(name), std::move(master_key), import_dir);
}

bool holds_keys(db::Database& database) {
  return database.read([](db::Tx& tx) { return tx.first("SELECT 1 FROM secret_key_rings").has_value(); });
}

}  // namespace virga::identity
