#pragma once
// The CA that signs hosts and controllers: in the database, its key sealed with the master key file.

#include <mutex>
#include <optional>

#include "base/certificate.h"
#include "base/clock.h"
#include "db/api.h"

namespace virga::enrolment {

/// Thread-safe. Made at its first use, by whichever controller is first.
class HostsCa {
 public:
  HostsCa(std::string master_key_file, db::Database& database, const Clock& clock)
      : master_key_file_(std::move(master_key_file)), database_(database), clock_(clock) {}
  /// Throws Fault(unavailable) if the master key is missing or not the one that sealed the CA's key.
  PemPair pair();

 private:
  PemPair load();

  const std::string master_key_file_;
  db::Database& database_;
  const Clock& clock_;
  std::mutex mutex_;
  std::optional<PemPair> pair_;
};

}  // namespace virga::enrolment
