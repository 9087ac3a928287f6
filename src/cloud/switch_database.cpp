#include "cloud/switch_database.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/fault.h"

namespace virga::cloud {
namespace {

[[noreturn]] void lost() { throw Fault(FaultKind::unavailable, "Open vSwitch's database does not answer."); }
[[noreturn]] void refuse(const json::value& error) {
  throw Fault(FaultKind::internal, "Open vSwitch's database refused: " + json::serialize(error));
}

}  // namespace

SwitchDatabase::SwitchDatabase(const std::string& socket_path, std::string database)
    : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), database_(std::move(database)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return;
  const int error = errno;
  close(fd_);
  throw Fault(FaultKind::unavailable, fmt::format("{}: {}.", socket_path, strerror(error)));
}

SwitchDatabase::~SwitchDatabase() { close(fd_); }

json::array SwitchDatabase::transact(json::array operations) {
  operations.insert(operations.begin(), json::value(database_));
  const json::object request = {{"method", "transact"}, {"params", std::move(operations)}, {"id", 1}};
  const std::string text = json::serialize(request);
  if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) lost();
  json::object answer = receive();
  if (!answer["error"].is_null()) refuse(answer["error"]);
  json::array results = answer["result"].as_array();
  for (const json::value& r : results)
    if (r.is_object() && r.as_object().contains("error")) refuse(r);
  return results;
}

json::object SwitchDatabase::receive() {
  json::stream_parser parser;
  while (!parser.done()) {
    char buffer[4096];
    pollfd p{fd_, POLLIN, 0};
    if (poll(&p, 1, 10'000) <= 0) lost();
    const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) lost();
    parser.write_some(buffer, static_cast<size_t>(n));
  }
  return parser.release().as_object();
}

std::map<std::string, std::string> SwitchDatabase::external_ids() {
  const json::array result = transact({select_all("Open_vSwitch", {"external_ids"})});
  const json::array& rows = result.at(0).at("rows").as_array();
  return rows.empty() ? std::map<std::string, std::string>{} : text_map(rows.at(0).at("external_ids"));
}

std::set<std::string> SwitchDatabase::names(const char* table) {
  std::set<std::string> names;
  const json::array result = transact({select_all(table, {"name"})});
  for (const json::value& row : result.at(0).at("rows").as_array()) names.insert(str(row.at("name")));
  return names;
}

std::string SwitchDatabase::interface_error(const std::string& device) {
  json::object select = select_all("Interface", {"error"});
  select["where"] = json::array{json::array{"name", "==", device}};
  const json::array result = transact({std::move(select)});
  for (const json::value& row : result.at(0).at("rows").as_array())
    for (const json::value& error : set_members(row.at("error"))) return str(error);
  return "";
}

void SwitchDatabase::wait_applied() {
  for (int i = 0; i < 500; ++i) {
    const json::array result = transact({select_all("Open_vSwitch", {"cur_cfg", "next_cfg"})});
    const json::value& row = result.at(0).at("rows").at(0);
    if (row.at("cur_cfg").as_int64() >= row.at("next_cfg").as_int64()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw Fault(FaultKind::timeout, "ovs-vswitchd does not carry out its configuration.", "See ovs-vswitchd.log.");
}

json::object select_all(const char* table, const std::vector<std::string>& columns) {
  return {{"op", "select"}, {"table", table}, {"where", json::array()}, {"columns", json::value_from(columns)}};
}

std::map<std::string, std::string> text_map(const json::value& map) {
  std::map<std::string, std::string> texts;
  for (const json::value& pair : map.at(1).as_array()) texts[str(pair.at(0))] = str(pair.at(1));
  return texts;
}

json::array map_value(const std::map<std::string, std::string>& map) {
  json::array pairs;
  for (const auto& [key, value] : map) pairs.push_back(json::array{key, value});
  return {"map", std::move(pairs)};
}

json::array set_members(const json::value& set) {
  if (!set.is_array()) return {set};
  const json::array& a = set.as_array();
  if (a.size() == 2 && a[0] == "set") return a[1].as_array();
  return {set};  // ["uuid", …]
}

}  // namespace virga::cloud
