#include "enrolment/ca.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/crypto.h"
#include "base/fault.h"
#include "base/ids.h"
#include "base/process.h"
#include "base/sealing.h"
#include "enrolment/table.h"

namespace virga::enrolment {
namespace {

constexpr std::string_view kPurpose = "hosts-ca-key";
constexpr size_t kKeySize = 32;

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
    const CaRow mine{made.certificate, seal(master_key(true), made.key, kPurpose)};
    try {
      database_.write([&](db::Tx& tx) { insert_ca(tx, mine, clock_.now()); });
    } catch (const db::UniqueViolation&) {
      // another controller's counts
    }
    row = known();
  }
  const auto key = unseal(master_key(false), row->sealed_key, kPurpose);
  if (!key)
    throw Fault(FaultKind::unavailable, fmt::format("{} is not the master key of this cloud's database.", master_key_file_),
                "Copy the file from a controller that works.");
  return {row->certificate, *key};
}

std::string HostsCa::master_key(bool may_make) const {
  std::string key;
  if (access(master_key_file_.c_str(), F_OK) != 0) {
    if (!may_make)
      throw Fault(FaultKind::unavailable, fmt::format("The master key {} is missing.", master_key_file_),
                  "Copy the file from a controller that works.");
    write_file(master_key_file_, base64_encode(random_bytes(kKeySize)) + "\n", 0600);
  }
  std::string text = read_file(master_key_file_);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  if (!base64_decode(text, key) || key.size() != kKeySize)
    throw Fault(FaultKind::unavailable, fmt::format("{} is not {} bytes of base64.", master_key_file_, kKeySize));
  return key;
}

}  // namespace virga::enrolment
