#pragma once
// Servers as the API shows them. Which attribute is shown since which microversion, to whom and in which
// answer is a table; the attributes are written straight to text, since a list of 1,000 servers is the
// hottest answer of all.

#include <memory>

#include "compute/core.h"
#include "compute/server_table.h"

namespace virga::compute {

/// Everything a view needs of one server.
struct Shown {
  ServerRow row;
  std::vector<network::PortInfo> ports;
  Metadata metadata;
  std::vector<std::string> tags;
  std::string host_status;  ///< "UP", "DOWN", "MAINTENANCE", "UNKNOWN", ""
};

/// True if the caller sees where a server runs.
bool sees_extended(const api::Call& call);

enum class View { brief, detail, show, update };

/// Loads what `view` needs beside the rows, in a few queries whatever their number.
std::vector<Shown> load_shown(Core& core, db::Tx& tx, const api::Call& call, std::vector<ServerRow> rows,
                              View view);
/// One server's object.
std::string server_text(const api::Call& call, const Shown& shown, View view);
/// {"servers": […], "servers_links": […]}, written piece by piece: a thousand servers never stand in memory at once.
class ServersText {
 public:
  ServersText(const api::Call& call, View view, size_t expected);
  ~ServersText();
  ServersText(const ServersText&) = delete;
  ServersText& operator=(const ServersText&) = delete;
  void add(const std::vector<Shown>& servers);
  /// The whole; `next` is the next page's URL, if there is one.
  std::string finish(const std::string& next);

 private:
  struct Body;
  std::unique_ptr<Body> body_;
};
/// nova's opaque host name: a user may tell equal hosts from different ones, and no more.
std::string opaque_host_id(const std::string& project_id, const std::string& hostname);

/// {"private": [{"version": 4, "addr": …}]}
json::object addresses_view(const std::vector<network::PortInfo>& ports);

}  // namespace virga::compute
