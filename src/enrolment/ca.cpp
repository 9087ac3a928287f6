#include "enrolment/ca.h"

#include <fmt/format.h>

#include "base/fault.h"
#include "base/ids.h"
#include "base/master_key.h"
#include "base/sealing.h"
#include "enrolment/table.h"

namespace virga::enrolment {
namespace {

constexpr std::string_view kPurpose = "hosts-ca-key";

}  // namespace

PemPair HostsCa::pair() {
  std::lock_guard lock(mutex_);
  if (!pair_) pair_ = load();
  return *pair_;
}

PemPair HostsCa::load() {
  const auto known = [&] { return database_.read([](db::Tx& tx) { return find_ca(tx); }); };
  auto row = known();
  if (!row) {
    const PemPair made = make_ca("Virga hosts " + new_hex_id().substr(0, 8), clock_.now());
    const CaRow mine{made.certificate, seal(read_master_key(master_key_file_, true), made.key, kPurpose)};
    try {
      database_.write([&](db::Tx& tx) { insert_ca(tx, mine, clock_.now()); });
    } catch (const db::UniqueViolation&) {
      // another controller's counts
    }
    row = known();
  }
  const auto key = unseal(read_master_key(master_key_file_, false), row->sealed_key, kPurpose);
  if (!key)
    throw Fault(FaultKind::unavailable, fmt::format("{} is not the master key of this cloud's database.", master_key_file_),
                "Copy the file from a controller that works.");
  return {row->certificate, *key};
}

}  // namespace virga::enrolment
