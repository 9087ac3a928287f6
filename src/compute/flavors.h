#pragma once
// Flavors: sizes of servers, with access lists and extra specs.

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

struct Flavor {
  std::string id, name;
  int64_t memory_mb = 0, vcpus = 0, root_gb = 0, ephemeral_gb = 0, swap_mb = 0;
  double rxtx_factor = 1.0;
  bool is_public = true, disabled = false;
  std::optional<std::string> description;
  json::object extra_specs;
};

/// The flavor if it exists and this caller may use it.
std::optional<Flavor> find_flavor(db::Tx& tx, const std::string& id, const api::Call& call);
void add_flavor_routes(Routes& routes, Core& core);

}  // namespace virga::compute
