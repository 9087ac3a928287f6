#pragma once
// Compute's route rows: each is served below /v2.1 and /v2, with and without the project id that old
// catalogues put into the endpoint's URL (nova does the same).

#include <deque>
#include <memory>
#include <string>

#include "api/api.h"

namespace virga::compute {

/// Target of the caller's own project.
api::Target own_target(const api::Call& call);

class Routes {
 public:
  explicit Routes(api::Service& service) : service_(service) {}
  /// `rule` is nova's policy name without "os_compute_api:", or one of those that begin with "compute:". The caller's own project is checked before the
  /// handler runs; handlers that reach further (another project's server) load it as that caller may see it.
  void add(std::string_view method, const std::string& path, const std::string& rule,
           const api::Handler& handler, api::Version min = {}, api::Version max = {});
  /// GET of a path outside of /v2.1, for administrators.
  void add_admin(const std::string& path, const std::string& rule, const api::Handler& handler);
  /// A path outside of /v2.1, no token needed.
  void add_open(std::string_view method, const std::string& path, const api::Handler& handler);

 private:
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  api::Service& service_;
  std::deque<std::string> texts_;  ///< rows hold views of these
};

}  // namespace virga::compute
