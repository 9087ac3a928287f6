#include "base/clock.h"

#include <fmt/format.h>

#include <ctime>

#include "base/fault.h"

namespace virga {
namespace {

std::string render(Time t, const char* date_to_time, bool micros, const char* end) {
  const auto secs = std::chrono::floor<std::chrono::seconds>(t);
  const time_t whole = secs.time_since_epoch().count();
  std::tm tm{};
  gmtime_r(&whole, &tm);
  std::string out = fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}", tm.tm_year + 1900, tm.tm_mon + 1,
                                tm.tm_mday, date_to_time, tm.tm_hour, tm.tm_min, tm.tm_sec);
  if (micros) out += fmt::format(".{:06}", (t - secs).count());
  return out + end;
}

bool read_number(std::string_view& text, size_t digits, int& value) {
  if (text.size() < digits) return false;
  value = 0;
  for (size_t i = 0; i < digits; ++i) {
    if (text[i] < '0' || text[i] > '9') return false;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(digits);
  return true;
}

bool read_char(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text[0]) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

int64_t read_fraction_us(std::string_view& text) {
  if (!read_char(text, ".")) return 0;
  int64_t us = 0, scale = 100000;
  while (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    us += (text[0] - '0') * scale;
    scale /= 10;
    text.remove_prefix(1);
  }
  return us;
}

}  // namespace

Time SystemClock::now() const {
  return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
}

std::string to_db(Time t) { return render(t, " ", true, ""); }
std::string to_iso(Time t) { return render(t, "T", false, "Z"); }
std::string to_iso_us(Time t) { return render(t, "T", true, "Z"); }
std::string to_iso_us_no_zone(Time t) { return render(t, "T", true, ""); }

Time parse_time(std::string_view text) {
  std::string_view in = text;
  std::tm tm{};
  int year = 0, month = 0;
  bool ok = read_number(in, 4, year) && read_char(in, "-") && read_number(in, 2, month) &&
            read_char(in, "-") && read_number(in, 2, tm.tm_mday);
  if (ok && read_char(in, " T")) {
    ok = read_number(in, 2, tm.tm_hour) && read_char(in, ":") && read_number(in, 2, tm.tm_min);
    if (ok && read_char(in, ":")) ok = read_number(in, 2, tm.tm_sec);
  }
  ok = ok && month >= 1 && month <= 12 && tm.tm_mday >= 1 && tm.tm_mday <= 31 && tm.tm_hour < 24 &&
       tm.tm_min < 60 && tm.tm_sec < 61;
  const int64_t us = ok ? read_fraction_us(in) : 0;
  int offset_s = 0;
  if (ok && !in.empty() && !read_char(in, "Z")) {
    const bool minus = in[0] == '-';
    int hours = 0, minutes = 0;
    ok = read_char(in, "+-") && read_number(in, 2, hours);
    if (ok) read_char(in, ":");
    ok = ok && read_number(in, 2, minutes);
    offset_s = (hours * 3600 + minutes * 60) * (minus ? -1 : 1);
  }
  if (!ok || !in.empty())
    throw Fault(FaultKind::bad_request, fmt::format("'{}' is not a time.", text),
                "Write it as 2026-11-23T12:34:56Z.");
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  return Time(std::chrono::seconds(timegm(&tm) - offset_s) + std::chrono::microseconds(us));
}

std::string db_to_iso(std::string_view db_text) {
  return db_text.empty() ? std::string() : to_iso(parse_time(db_text));
}

}  // namespace virga
