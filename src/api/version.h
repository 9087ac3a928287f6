#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace virga::api {

/// An API microversion ("2.79"). {0, 0} stands for "none" in route rows.
struct Version {
  int major = 0, minor = 0;
  friend auto operator<=>(const Version&, const Version&) = default;
  std::string str() const { return std::to_string(major) + "." + std::to_string(minor); }
};

/// Reads "2.79"; nullopt if it is not of that form.
std::optional<Version> parse_version(std::string_view text);

/// How a service negotiates microversions (API-SIG guideline; nova, placement, cinder).
struct Microversions {
  std::string_view service_type;   ///< "compute", in "OpenStack-API-Version: compute 2.79"
  std::string_view legacy_header;  ///< "X-OpenStack-Nova-API-Version", or ""
  Version min, max;                ///< without a header the request speaks `min`
};

}  // namespace virga::api
