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

/// What is looked for: a provider that has all of it. Needs at least one amount.
struct Demand {
  Amounts amounts;
  std::vector<std::string> required_traits, forbidden_traits;
  /// Of each group the provider is in at least one aggregate (uuids); an empty group lets nothing through.
  std::vector<std::vector<std::string>> member_of;
  struct Exclusion {
    std::vector<std::string> members_of;  ///< who is in one of these is out,
    std::vector<std::string> unless_in;   ///< but for who is in one of these too
  };
  std::vector<Exclusion> exclusions;
  std::optional<std::vector<std::string>> only;  ///< providers
};

/// Something that a provider lacks. `what` is the same text for all providers that lack it ("MEMORY_MB: 2048 wanted"),
/// `here` says how it is at this one (", 512 free of 16000"), and `free` how much it has, -1 if that is no answer.
struct Shortage {
  std::string what, here;
  int64_t free = -1;
};

struct Candidate {
  std::string provider_id;
  struct Room {
    int64_t capacity = 0, used = 0, max_unit = 0;
  };
  std::map<std::string, Room> rooms;  ///< filled by add_rooms
  std::vector<Shortage> shortages;  ///< empty if it has what is wanted
  int64_t order = 0;                ///< what it has free of the class that candidates are ordered by
};

class Placement {
 public:
  virtual ~Placement() = default;
  virtual api::Service& service() = 0;
  /// Makes or updates the provider (uuid = the host's id) and its inventories; generation grows only on change.
  virtual void ensure_provider(db::Tx& tx, const std::string& uuid, const std::string& name,
                               const std::vector<Inventory>& inventories) = 0;
  /// Takes a provider away, with its inventories and traits. Throws Fault(conflict) while something is allocated there.
  virtual void remove_provider(db::Tx& tx, const std::string& uuid) = 0;
  /// Up to `limit` providers that have what is wanted, most free memory first (or, if few have enough of another class or
  /// no memory is wanted, of that one); those that come after `after`, if given. An index walk: what it costs grows with
  /// the limit and with how rare the fitting ones are, not with how many providers there are.
  virtual std::vector<Candidate> candidates(db::Tx& tx, const Demand& demand, size_t limit,
                                            const Candidate* after = nullptr) = 0;
  /// Some at random of those that candidates() would give first, if many have equally much free: where writers run at once,
  /// each then looks at others. Nothing where that is not known, or writers are alone. A guess that is a second old at most:
  /// if nobody of them does, ask candidates().
  virtual std::vector<Candidate> some_of_equals(db::Tx& tx, const Demand& demand, size_t limit) = 0;
  /// Every provider (of demand.only, if given), each with what it lacks: for when no candidate was good. By name.
  virtual std::vector<Candidate> survey(db::Tx& tx, const Demand& demand) = 0;
  /// Reads the rooms of some candidates (indexes into `all`) that have none yet.
  virtual void add_rooms(db::Tx& tx, std::vector<Candidate>& all, const std::vector<size_t>& of) = 0;
  /// Takes the amounts for a consumer (server id). Throws Fault(conflict) if they no longer fit.
  virtual void allocate(db::Tx& tx, const std::string& consumer_id, const std::string& provider_id, const Amounts& amounts,
                        const std::string& project_id, const std::string& user_id) = 0;
  /// Gives back all of a consumer. Nothing to give back is fine.
  virtual void release(db::Tx& tx, const std::string& consumer_id) = 0;
  /// The provider gets a trait, or loses it. No provider is fine.
  virtual void set_trait(db::Tx& tx, const std::string& provider_id, const std::string& trait, bool has) = 0;
  /// Of the standard traits about processors (HW_CPU_…) and what a host can do (COMPUTE_…, without its status) the provider
  /// has these and no others; other names are left out. No provider is fine.
  virtual void report_traits(db::Tx& tx, const std::string& provider_id, const std::vector<std::string>& traits) = 0;
  /// The provider joins an aggregate, or leaves it. No provider is fine.
  virtual void set_member(db::Tx& tx, const std::string& provider_id, const std::string& aggregate_uuid, bool member) = 0;
};

std::unique_ptr<Placement> make_placement(db::Database& database, const Clock& clock);

}  // namespace virga::placement
