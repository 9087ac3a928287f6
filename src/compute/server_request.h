#pragma once
// What a POST /servers asks for, checked as far as it can be without the database.

#include <set>

#include "compute/core.h"
#include "compute/server_table.h"

namespace virga::compute {

struct NewServer {
  std::string name, hostname, image_id, flavor_id, admin_pass, disk_config = "MANUAL", access_ip_v4,
                                                               access_ip_v6;
  std::optional<std::string> description, key_name, user_data;
  Metadata metadata;
  std::vector<std::string> tags, security_groups;
  enum class Nics { default_network, automatic, none, listed } nics = Nics::default_network;
  std::vector<network::NicRequest> nic_requests;
  bool config_drive = false, return_reservation_id = false;
  int64_t min_count = 1, max_count = 1;
  std::string zone, host;  ///< asked for, or ""
  std::string group;       ///< scheduler hints
  std::vector<std::string> same_host, different_host;
};

/// Throws Fault(bad_request) in nova's words, Fault(not_implemented) for what Virga does not do yet.
NewServer parse_new_server(api::Call& call);

}  // namespace virga::compute
