#pragma once
// Signatures of requests in Amazon's manner, versions 2 and 4: what a client signed, signed again. Pure.
// (Versions 0 and 1 sign so little of a request that they are refused, as Amazon does.)

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace virga::identity {

/// A signed request, as the service that got it describes it.
struct SignedRequest {
  std::string verb, host, path;
  std::map<std::string, std::string> params, headers;
  std::string body_hash;  ///< hexadecimal SHA-256 of the body (version 4)
};

/// The signature that the secret gives; nullopt if the request is of no version we know, or incomplete.
std::optional<std::string> ec2_signature(const SignedRequest& request, const std::string& secret);
/// The signature over a finished string-to-sign: S3's first form, or version 4 for s3, iam and sts.
std::optional<std::string> s3_signature(std::string_view string_to_sign, const std::string& secret);

/// The time the request says it was made: Timestamp, or X-Amz-Date in a header or parameter. Nullopt if it
/// says none; Fault(bad_request) if it is no time.
std::optional<Time> signing_time(const SignedRequest& request);

}  // namespace virga::identity
