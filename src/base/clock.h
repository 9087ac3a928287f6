#pragma once
// Time: one type, one injectable source, and the text forms that OpenStack's APIs and the database use.

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

namespace virga {

/// Wall-clock time, microseconds, UTC.
using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::microseconds>;

/// Where "now" comes from. Implementations are thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
};

class SystemClock final : public Clock {
 public:
  Time now() const override;
};

/// A clock that tests move by hand.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Time start) : now_us_(start.time_since_epoch().count()) {}
  Time now() const override { return Time(std::chrono::microseconds(now_us_.load())); }
  void advance(std::chrono::microseconds by) { now_us_ += by.count(); }

 private:
  std::atomic<int64_t> now_us_;
};

/// "2026-11-23 12:34:56.000000": DATETIME(6), as it stands in the database; sorts as text.
std::string to_db(Time t);
/// "2026-11-23T12:34:56Z": nova, glance, neutron.
std::string to_iso(Time t);
/// "2026-11-23T12:34:56.000000Z": keystone.
std::string to_iso_us(Time t);
/// "2026-11-23T12:34:56.000000": without zone, as nova's os-extended and cinder show.
std::string to_iso_us_no_zone(Time t);
/// Reads any of the forms above (a zone offset too). Throws Fault(bad_request) on anything else.
Time parse_time(std::string_view text);
/// Database text to an API's form: "" stays "".
std::string db_to_iso(std::string_view db_text);

}  // namespace virga
