// Patterns of access rules are a user's, paths anybody's; descriptions of signed requests come from the network.
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "api/access_rules.h"
#include "base/fault.h"
#include "identity/ec2_signature.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace virga;
  std::vector<std::string> texts(1);
  for (size_t i = 0; i < size; ++i)
    if (data[i] == 0) texts.emplace_back();
    else texts.back() += static_cast<char>(data[i]);
  texts.resize(std::max<size_t>(texts.size(), 8));

  const std::string& pattern = texts[0];
  const std::string& path = texts[1];
  const bool plain = pattern.find_first_of("*{") == std::string::npos;
  if (plain && pattern.size() <= 256 && path.size() <= 8192 && api::path_matches(pattern, path) != (pattern == path)) std::abort();
  if (!plain) api::path_matches(pattern, path);

  identity::SignedRequest request{.verb = texts[2], .host = texts[3], .path = texts[1], .body_hash = texts[4]};
  request.headers["Authorization"] = texts[5];
  request.headers["X-Amz-Date"] = texts[6];
  if (!texts[7].empty()) request.params["SignatureVersion"] = texts[7];
  identity::ec2_signature(request, "secret");
  request.headers.erase("Authorization");
  request.params["X-Amz-Algorithm"] = "AWS4-HMAC-SHA256";
  request.params["X-Amz-Credential"] = texts[5];
  request.params["X-Amz-SignedHeaders"] = texts[3];
  identity::ec2_signature(request, "secret");
  identity::s3_signature(texts[2], "secret");
  try {
    identity::signing_time(request);
  } catch (const Fault&) {
  }
  return 0;
}
