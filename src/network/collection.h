#pragma once
// One resource of the Networking API as a table row: its attributes, its SQL table, and what is special about it as
// hooks. List, show, create (one or many), update and delete are the same for all of them.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.h"
#include "db/api.h"

namespace virga::network {

using Object = json::object;
using Objects = std::vector<json::object>;

struct Collection {
  const api::Resource& resource;
  std::string_view table;
  std::string_view path;                          ///< "/v2.0/networks"
  std::string_view quota;                         ///< quota resource, or ""
  std::string_view not_found;                     ///< neutron's exception name: "NetworkNotFound"
  std::string_view title;                         ///< "Network", in "Network X could not be found."
  std::vector<std::string_view> computed;         ///< attributes that `decorate` adds, and a "get_" rule may hide
  std::vector<std::string_view> hidden;           ///< columns that nobody sees

  /// Who else than the owner and the administrator sees rows (shared networks): an SQL condition with the caller's
  /// project as its only parameter, or "".
  std::string_view also_visible{};
  /// Reads a list parameter that is no plain attribute filter; true if it did.
  std::function<bool(const std::string& name, const std::vector<std::string>& values, api::Where& where)> filter{};
  /// Throws Fault(not_found) if what a new row names as its parent cannot be seen; before any rule is asked about it.
  std::function<void(db::Tx&, const api::Caller&, const Object&)> find_parent{};
  /// Completes and writes a validated new resource (id, project_id, times are set); returns it as stored.
  std::function<Object(db::Tx&, api::Call&, Object)> create{};
  /// Checks and writes validated changes; `current` is decorated.
  std::function<void(db::Tx&, api::Call&, const Object& current, Object changes)> update{};  ///< none: no PUT route
  std::function<void(db::Tx&, api::Call&, const Object& current)> remove{};
  /// Runs before a list is read (makes the project's default security group at first sight).
  std::function<void(const api::Caller&)> before_list{};
  /// Adds computed attributes to rows just read, all at once.
  std::function<void(db::Tx&, Objects&)> decorate{};
};

/// What collections need of the service.
struct Environment {
  db::Database& database;
  const Clock& clock;
  /// Takes `amount` of a quota (negative gives back). Throws Fault(conflict, OverQuota).
  std::function<void(db::Tx&, const std::string& project, std::string_view resource, int64_t amount)> use_quota;
};

/// Adds the collection's five routes to the service. Both references must live as long as the service.
void add_collection(api::Service& service, const Environment& environment, const Collection& collection);

/// What those routes do, within a transaction of the caller's; the result is decorated and as this caller may see it.
Object create_in(db::Tx& tx, const Environment& environment, const Collection& collection, api::Call& call, const Object& body);
Object update_in(db::Tx& tx, const Collection& collection, api::Call& call, const std::string& id, const Object& body);
void remove_in(db::Tx& tx, const Environment& environment, const Collection& collection, api::Call& call, const std::string& id);

/// The row, decorated, if the caller may see it. Throws Fault(not_found).
Object find_visible(db::Tx& tx, const Collection& collection, const api::Caller& caller, const std::string& id);
/// Some columns of its row and nothing besides, if the caller may see it.
std::optional<db::Row> find_visible_row(db::Tx& tx, const Collection& collection, const api::Caller& caller, const std::string& id, std::string_view columns);
/// The row whoever asks; throws Fault(not_found).
Object find_any(db::Tx& tx, const Collection& collection, const std::string& id);
/// Text member, "" if absent or null.
std::string text_of(const Object& object, std::string_view key);
std::vector<std::string> ids_of(const Objects& objects);
/// Fault of neutron's: 400 or 409 with the exception's name.
Fault bad_request(std::string message, std::string type = "HTTPBadRequest");
Fault conflict(std::string message, std::string type);

}  // namespace virga::network
