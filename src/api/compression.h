#pragma once
// gzip for answers, where it helps and gives nothing away.
//
// Compression shows in an answer's length how much of it repeats, so text that an attacker chose and a secret
// must never stand in one compressed answer (BREACH). Therefore only answers to GET are compressed, and none
// of the routes whose answers hold secrets.

#include <string>
#include <string_view>

#include "http/api.h"

namespace virga::api {

/// Whether an Accept-Encoding field (RFC 9110, 12.5.3) prefers gzip to the plain text, or likes it as much.
bool accepts_gzip(std::string_view accept_encoding);
/// Whether answers at this path may hold tokens, keys or passwords: /v3/auth, credentials, OAuth, consoles.
bool may_hold_secrets(std::string_view path);
/// Whether this answer could be compressed: a status 200 with more than 1 KiB of text in memory.
bool compressible(const http::Response& response);
/// Compresses the body and sets Content-Encoding, if that makes it smaller.
void compress(http::Response& response);

}  // namespace virga::api
