#include "network/revision_match.h"

#include <fmt/format.h>

#include <charconv>

namespace virga::network {
namespace {

constexpr std::string_view kName = "revision_number=";

/// The entity tags of an If-Match field: quoted ones, or else the whole as one, as WebOb reads it. Weak ones
/// never match.
std::vector<std::string_view> tags_of(std::string_view field) {
  std::vector<std::string_view> tags;
  if (field.find('"') == std::string_view::npos) return {field};
  while (true) {
    const size_t open = field.find('"');
    if (open == std::string_view::npos) return tags;
    const size_t close = std::min(field.find('"', open + 1), field.size());
    if (open < 2 || field.substr(open - 2, 2) != "W/")
      tags.push_back(field.substr(open + 1, close - open - 1));
    field.remove_prefix(std::min(close + 1, field.size()));
  }
}

Fault bad_match(std::string_view what) {
  return bad_request(fmt::format("Bad if-match request: {}.", what), "BadRequest");
}

std::optional<int64_t> wanted_revision(const http::Request& request) {
  std::optional<int64_t> wanted;
  for (std::string_view tag : tags_of(request.headers.get("If-Match"))) {
    if (tag.substr(0, kName.size()) != kName) continue;
    if (wanted) throw bad_match("Multiple revision_number etags are not supported");
    tag.remove_prefix(kName.size());
    int64_t number = 0;
    const auto [end, error] = std::from_chars(tag.data(), tag.data() + tag.size(), number);
    if (error != std::errc() || end != tag.data() + tag.size())
      throw bad_match("Revision number etag must be in the format of revision_number=<int>");
    wanted = number;
  }
  return wanted;
}

}  // namespace

void check_revision(db::Tx& tx, const Collection& c, const api::Call& call, const std::string& id) {
  const std::optional<int64_t> wanted = wanted_revision(call.request);
  if (!wanted) return;
  find_visible(tx, c, call.caller(), id);
  const auto row =
      tx.first(fmt::format("SELECT revision_number FROM {} WHERE id = ?{}", c.table, db::for_update(tx)), id);
  if (!row || row->integer(0) == *wanted) return;
  throw Fault(FaultKind::precondition_failed,
              fmt::format("Constrained to {}, but current revision is {}", *wanted, row->integer(0)), "",
              "RevisionNumberConstraintFailed");
}

}  // namespace virga::network
