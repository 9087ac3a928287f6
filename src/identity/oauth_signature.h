#pragma once
// Signed requests of OAuth 1.0a (RFC 5849): the parameters of the Authorization header, and the signature
// over the whole request. Pure.

#include <map>
#include <string>
#include <string_view>

#include "http/api.h"

namespace virga::identity {

/// The oauth_… parameters of a request's Authorization header, decoded.
using OAuthParameters = std::map<std::string, std::string, std::less<>>;

/// Throws Fault(bad_request) if there is no such header, or it names a parameter twice.
OAuthParameters read_oauth_header(const http::Request& request);
/// The parameter, or "" if it is not there.
std::string oauth_value(const OAuthParameters& parameters, std::string_view name);

/// What is signed (RFC 5849, 3.4.1): method, URL without query, and every parameter of query, header and
/// form. `url` is the request's as the client sees it, without query.
std::string signature_base(const http::Request& request, std::string_view url,
                           const OAuthParameters& parameters);

/// True if the header's signature is the one these secrets make. Throws Fault(bad_request) on a method that
/// is neither HMAC-SHA1 nor HMAC-SHA256, or another protocol version.
bool signature_holds(const http::Request& request, std::string_view url, const OAuthParameters& parameters,
                     std::string_view consumer_secret, std::string_view token_secret);

}  // namespace virga::identity
