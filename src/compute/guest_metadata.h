#pragma once
// What a guest learns about itself: the same documents on the config drive and from 169.254.169.254.

#include "compute/server_table.h"
#include "link/api.h"
#include "network/api.h"

namespace virga::compute {

struct Guest {
  const ServerRow& server;
  Metadata metadata;
  std::vector<network::PortInfo> ports;
};

std::vector<link::ConfigDriveFile> config_drive_files(const Guest& guest);
/// The answer to a GET of the metadata service. Status 404 for what is not there.
link::MetadataReply guest_metadata(const Guest& guest, const std::string& path);
/// True if a POST there sets the guest's password (once, as nova has it).
bool is_password_path(const std::string& path);

}  // namespace virga::compute
