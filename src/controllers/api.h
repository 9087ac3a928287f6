#pragma once
// The controllers of one cloud: several `virga serve` over one database, none of them a leader.
//
// Each writes a row of its own every few seconds (beat), by the database's time, so that each knows which others live.
// What only one may do at a time is leased, by the database's time too: whoever holds the lease renews it well before
// it ends, and another takes over when it does. A lease says who works, not what is true: everything done under one
// must bear being done twice, for its holder may have lost it without noticing.
//
// On SQLite there is one controller, and it lives as long as it is asked.
//
// Threads: Controllers is thread-safe; the lease functions are stateless over a db::Tx.

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "db/api.h"

namespace virga::controllers {

/// Whom nobody has heard for so long counts as dead. Beats come every kBeatEvery.
constexpr std::chrono::seconds kDeadAfter{10};
constexpr std::chrono::seconds kBeatEvery{3};

struct Controller {
  std::string id, name, version;
  std::string link_address;  ///< "192.0.2.1:5001", where hosts and other controllers reach it; "" = they do not
  std::string api_address;   ///< its API's URL
  std::string started_at, seen_at;  ///< database time text
  bool alive = false;
};

class Controllers {
 public:
  /// `me`: id, name, version and addresses of this one.
  Controllers(Controller me, db::Database& database) : me_(std::move(me)), database_(database) {}
  const std::string& id() const { return me_.id; }
  const std::string& name() const { return me_.name; }
  const std::string& link_address() const { return me_.link_address; }

  /// This one lives: one small write. Throws Fault(unavailable).
  void beat();
  /// An orderly end: counts as dead at once, and its leases are free.
  void leave();
  /// All that were heard within the last day, by name; this one among them.
  std::vector<Controller> all(db::Tx& tx) const;

 private:
  const Controller me_;
  db::Database& database_;
};

/// The id in this file, made with it if it is missing.
std::string controller_id(const std::string& file);

/// Takes or renews the lease; false if another holds it. In a write.
bool take_lease(db::Tx& tx, std::string_view name, std::string_view holder, std::chrono::seconds duration);
void give_lease(db::Tx& tx, std::string_view name, std::string_view holder);
/// Who holds it now; "" = nobody.
std::string lease_holder(db::Tx& tx, std::string_view name);
/// True if somebody has it, or had it and did not give it back.
bool is_lease_known(db::Tx& tx, std::string_view name);

/// Of the controller whose databases of OVN's are used as long as it lives. An orderly end does not give it back: that may be
/// a restart, and is no reason for another to stand in.
inline constexpr std::string_view kHomeLease = "network.home";

}  // namespace virga::controllers
