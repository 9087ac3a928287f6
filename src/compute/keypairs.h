#pragma once
// Key pairs: imported or generated SSH keys of users. A private key is shown once and never kept.

#include "compute/core.h"
#include "compute/routes.h"

namespace virga::compute {

struct GeneratedKey {
  std::string public_key, private_key;
};
/// type "rsa" (2048 bits, PEM) or "ed25519" (OpenSSH's own format, the only one for it).
GeneratedKey generate_key(const std::string& type, const std::string& comment);
/// MD5 in colon form, as nova shows it. Throws Fault(bad_request) if the text is no SSH public key.
std::string key_fingerprint(const std::string& public_key);

void add_keypair_routes(Routes& routes, Core& core);

}  // namespace virga::compute
