// What an OVSDB server may send: framing, then values and updates into a replica. The first byte cuts the
// stream.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/fault.h"
#include "ovn/json_stream.h"
#include "ovn/replica.h"

using namespace virga;

static const json::object& schema() {
  static const json::object s = json::parse(R"({"tables":{"T":{"columns":{
    "name":{"type":"string"},
    "set":{"type":{"key":"string","min":0,"max":"unlimited"}},
    "map":{"type":{"key":"string","value":"string","min":0,"max":"unlimited"}},
    "up":{"type":{"key":"boolean","min":0,"max":1}}}}}})")
                                    .as_object();
  return s;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t piece = data[0] + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  ovn::Replica replica;
  replica.set_schema(schema(), {{"T", {"name", "set", "map", "up"}}});
  ovn::JsonStream stream(1 << 16);
  try {
    for (size_t at = 0; at < bytes.size(); at += piece)
      stream.feed(bytes.substr(at, piece), [&](const json::object& message) {
        const ovn::Replica::Listener listener = [](const ovn::RowChange&) {};
        if (const auto* result = message.if_contains("result")) replica.reset(*result, listener);
        if (const auto* params = message.if_contains("params")) replica.apply(*params, listener);
      });
  } catch (const Fault&) {
  }
  return 0;
}
