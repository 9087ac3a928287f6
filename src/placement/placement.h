#pragma once
// The module behind api.h: facade and REST service over one set of tables.

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <span>

#include "placement/api.h"
#include "placement/table.h"

namespace virga::placement {

/// What was seen of each resource class a moment ago, believed for so long: hints, since asking at each boot would cost too
/// much. Thread-safe.
class Hints {
 public:
  explicit Hints(std::chrono::seconds believed_for) : believed_for_(believed_for) {}
  /// Nothing: not known, or not any more.
  std::optional<int64_t> of(const std::string& resource_class);
  void note(const std::string& resource_class, int64_t value);
  void forget(const std::string& resource_class);

 private:
  struct Known {
    int64_t value = 0;
    std::chrono::steady_clock::time_point until;
  };
  const std::chrono::seconds believed_for_;
  std::mutex mutex_;
  std::map<std::string, Known> known_;
};

class Module final : public Placement {
 public:
  Module(db::Database& database, const Clock& clock);
  api::Service& service() override { return service_; }
  void ensure_provider(db::Tx& tx, const std::string& uuid, const std::string& name,
                       const std::vector<Inventory>& inventories) override;
  void remove_provider(db::Tx& tx, const std::string& uuid) override;
  std::vector<Candidate> candidates(db::Tx& tx, const Demand& demand, size_t limit, const Candidate* after) override;
  std::vector<Candidate> some_of_equals(db::Tx& tx, const Demand& demand, size_t limit) override;
  std::vector<Candidate> survey(db::Tx& tx, const Demand& demand) override;
  void add_rooms(db::Tx& tx, std::vector<Candidate>& all, const std::vector<size_t>& of) override;
  void allocate(db::Tx& tx, const std::string& consumer_id, const std::string& provider_id,
                const Amounts& amounts, const std::string& project_id, const std::string& user_id) override;
  void release(db::Tx& tx, const std::string& consumer_id) override;
  void set_trait(db::Tx& tx, const std::string& provider_id, const std::string& trait, bool has) override;
  void report_traits(db::Tx& tx, const std::string& provider, const std::vector<std::string>& traits) override;
  void set_member(db::Tx& tx, const std::string& provider_id, const std::string& aggregate_uuid, bool member) override;

 private:
  void add_provider_routes();
  void add_inventory_routes();
  void add_allocation_routes();
  void add_name_routes();  ///< resource classes and traits
  /// `rule` is placement's policy name without "placement:".
  void route(std::string_view method, std::string_view path, std::string_view rule, api::Handler handler, api::Version min = {},
             api::Version max = {});

  db::Database& database_;
  const Clock& clock_;
  /// The least that each of many (more than are looked at one by one) providers has free, -1 if there are not so many: says
  /// along which index a search goes. Reading it means walking past hundreds of rows.
  Hints free_of_many_{std::chrono::seconds(2)};
  /// How much those have free that come first, where so many have just as much that they fill a page: searches at once begin
  /// at different places among them, or they would all want the same few.
  Hints crowd_{std::chrono::seconds(1)};
  api::Service service_;
};

/// Links of a resource provider, as this version shows them.
json::object provider_view(const Provider& provider, const api::Call& call);
json::object inventory_view(const StoredInventory& inventory);
/// One inventory from a body. Throws Fault(bad_request).
Inventory parse_inventory(const std::string& resource_class, const json::object& body);
/// "VCPU:1,MEMORY_MB:512". Throws Fault(bad_request).
Amounts parse_resources(std::string_view text);
bool is_standard_class(std::string_view name);
/// Throws Fault(bad_request) if the class is neither a standard one nor stored.
void need_class(db::Tx& tx, const std::string& name);
/// The same for traits.
void need_trait(db::Tx& tx, const std::string& name);
std::span<const std::string_view> standard_traits();  ///< sorted
bool is_standard_trait(std::string_view name);

}  // namespace virga::placement
