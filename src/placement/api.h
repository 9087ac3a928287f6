#pragma once
// Placement: resource providers, their inventories, and who has what of them (Placement API). Compute allocates in the
// same transaction that writes the server, so that there is never a server without its allocation or the reverse.
// The invariant (used + amount <= (total - reserved) * ratio) is held by a conditional update of a counter row.
//
// Threads: stateless over db::Tx, thread-safe.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api/api.h"
#include "base/clock.h"
#include "db/api.h"

namespace virga::placement {

struct Inventory {
  std::string resource_class;   ///< "VCPU", "MEMORY_MB", "DISK_GB"
  int64_t total = 0, reserved = 0, min_unit = 1, max_unit = 0, step_size = 1;
  double allocation_ratio = 1.0;
};

using Amounts = std::map<std::string, int64_t>;  ///< resource class -> amount

struct Candidate {
  std::string provider_id, provider_name;
  struct Room {
    int64_t capacity = 0, used = 0, max_unit = 0;
  };
  std::map<std::string, Room> rooms;
  /// Empty if the amounts fit; otherwise why not ("MEMORY_MB: 2048 wanted, 512 free of 16000").
  std::string refusal;
};

class Placement {
 public:
  virtual ~Placement() = default;
  virtual api::Service& service() = 0;
  /// Makes or updates the provider (uuid = the host's id) and its inventories; generation grows only on change.
  virtual void ensure_provider(db::Tx& tx, const std::string& uuid, const std::string& name,
                               const std::vector<Inventory>& inventories) = 0;
  /// Every provider with room and refusal for these amounts, fitting ones first.
  /// Takes a provider away, with its inventories and traits. Throws Fault(conflict) while something is allocated there.
  virtual void remove_provider(db::Tx& tx, const std::string& uuid) = 0;
  virtual std::vector<Candidate> candidates(db::Tx& tx, const Amounts& amounts) = 0;
  /// Takes the amounts for a consumer (server id). Throws Fault(conflict) if they no longer fit.
  virtual void allocate(db::Tx& tx, const std::string& consumer_id, const std::string& provider_id, const Amounts& amounts,
                        const std::string& project_id, const std::string& user_id) = 0;
  /// Gives back all of a consumer. Nothing to give back is fine.
  virtual void release(db::Tx& tx, const std::string& consumer_id) = 0;
};

std::unique_ptr<Placement> make_placement(db::Database& database, const Clock& clock);

}  // namespace virga::placement
