// Bodies of requests: any bytes through the JSON parser, and what it takes through the attribute rows of a
// resource that has every type, in both wordings. What comes out must be text that parses again.
#include <cstdlib>
#include <string_view>

#include "api/schema.h"
#include "base/fault.h"
#include "base/json.h"

namespace {

using namespace virga;
using api::Set;
using api::Type;

api::Resource every_type(api::Wording wording, bool extra) {
  api::Resource r{.name = "thing", .plural = "things", .attributes = {}, .wording = wording, .extra = extra};
  const std::pair<std::string_view, Type> types[] = {
      {"string", Type::string},   {"word", Type::word},       {"uuid", Type::uuid},
      {"boolean", Type::boolean}, {"integer", Type::integer}, {"number", Type::number},
      {"object", Type::object},   {"array", Type::array},     {"ip", Type::ip},
      {"cidr", Type::cidr},       {"mac", Type::mac},         {"any", Type::any}};
  for (const auto& [name, type] : types)
    r.attributes.push_back({.name = name,
                            .type = type,
                            .create = Set::optional,
                            .update = Set::optional,
                            .nullable = true,
                            .min = 0,
                            .max = 64});
  r.attributes.push_back(
      {.name = "choice", .create = Set::optional, .update = Set::no, .fallback = "a", .one_of = {"a", "b"}});
  return r;
}

void check_parses(const json::value& value) {
  try {
    parse_json(json::serialize(value));
  } catch (const Fault&) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const api::Resource resources[] = {every_type(api::Wording::schema, false),
                                            every_type(api::Wording::neutron, false),
                                            every_type(api::Wording::schema, true)};
  json::value body;
  try {
    body = parse_json({reinterpret_cast<const char*>(data), size});
  } catch (const Fault&) {
    return 0;
  }
  check_parses(body);
  const json::object* object = body.if_object();
  if (!object) return 0;
  for (const api::Resource& resource : resources)
    for (bool creates : {true, false}) try {
        check_parses(creates ? api::validate_create(resource, *object)
                           : api::validate_update(resource, *object));
      } catch (const Fault& fault) {
        std::string shown;
        append_json_string(shown, fault.message);
        if (str(parse_json(shown)) != fault.message) std::abort();
      }
  return 0;
}
