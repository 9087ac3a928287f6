#include "api/policy_file.h"

#include <fmt/format.h>
#include <yaml.h>

#include <fstream>
#include <map>

#include "base/fault.h"
#include "base/scope_exit.h"

namespace virga::api {
namespace {

constexpr size_t kMaxBytes = 1024 * 1024;
constexpr size_t kMaxRules = 4000;

/// Pulls libyaml's events: nothing is expanded that is not asked for.
class Reader {
 public:
  Reader(std::string_view yaml, const std::string& file) : file_(file) {
    if (yaml.size() > kMaxBytes)
      throw Fault(FaultKind::bad_request,
                  fmt::format("{}: a policy file has {} bytes at most.", file_, kMaxBytes));
    if (!yaml_parser_initialize(&parser_)) throw std::bad_alloc();
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(yaml.data()), yaml.size());
  }
  ~Reader() { yaml_parser_delete(&parser_); }
  Reader(const Reader&) = delete;

  std::vector<FileRule> read() {
    Event event = next();
    if (event.type == YAML_STREAM_START_EVENT) event = next();
    if (event.type == YAML_STREAM_END_EVENT) return {};  // nothing, or comments alone
    event = next();                                      // what stands in the document
    std::vector<FileRule> rules;
    if (event.type == YAML_MAPPING_START_EVENT)
      rules = read_rules();
    else if (event.type != YAML_SCALAR_EVENT || !event.text.empty())
      fail(event.line, "the file must be a mapping of rule names to checks");
    while ((event = next()).type != YAML_STREAM_END_EVENT)
      if (event.type == YAML_DOCUMENT_START_EVENT) fail(event.line, "a second document begins");
    return rules;
  }

 private:
  struct Event {
    yaml_event_type_t type = YAML_NO_EVENT;
    int line = 0;
    std::string text;
    bool plain = false;  ///< a scalar without quotes
  };

  [[noreturn]] void fail(int line, std::string_view why, std::string_view rule = {}) const {
    throw Fault(FaultKind::bad_request, rule.empty()
                                            ? fmt::format("{}:{}: {}.", file_, line, why)
                                            : fmt::format("{}:{}: rule \"{}\": {}.", file_, line, rule, why));
  }

  Event next() {
    yaml_event_t raw;
    if (!yaml_parser_parse(&parser_, &raw)) {
      const char* problem = parser_.problem ? parser_.problem : "it is no YAML";
      fail(static_cast<int>(parser_.problem_mark.line) + 1, problem);
    }
    const ScopeExit clean([&raw] { yaml_event_delete(&raw); });
    Event event{raw.type, static_cast<int>(raw.start_mark.line) + 1, {}, false};
    const auto bare = [&](const yaml_char_t* anchor, const yaml_char_t* tag) {
      if (anchor) fail(event.line, "anchors are not offered");
      if (tag) fail(event.line, "tags are not offered; a check that is \"!\" needs its quotes");
    };
    if (raw.type == YAML_ALIAS_EVENT) fail(event.line, "aliases are not offered");
    if (raw.type == YAML_MAPPING_START_EVENT) bare(raw.data.mapping_start.anchor, raw.data.mapping_start.tag);
    if (raw.type == YAML_SEQUENCE_START_EVENT)
      bare(raw.data.sequence_start.anchor, raw.data.sequence_start.tag);
    if (raw.type == YAML_SCALAR_EVENT) {
      bare(raw.data.scalar.anchor, raw.data.scalar.tag);
      event.text.assign(reinterpret_cast<const char*>(raw.data.scalar.value), raw.data.scalar.length);
      event.plain = raw.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    }
    return event;
  }

  std::vector<FileRule> read_rules() {
    std::vector<FileRule> rules;
    std::map<std::string, int> lines;
    for (Event key = next(); key.type != YAML_MAPPING_END_EVENT; key = next()) {
      if (key.type != YAML_SCALAR_EVENT || key.text.empty()) fail(key.line, "a rule's name must be a text");
      if (const auto [other, fresh] = lines.emplace(key.text, key.line); !fresh)
        fail(key.line, fmt::format("it stands in line {} already", other->second), key.text);
      if (rules.size() == kMaxRules)
        fail(key.line, fmt::format("a policy file has {} rules at most", kMaxRules));
      rules.push_back({key.text, read_check(key.text), key.line});
    }
    return rules;
  }

  std::string read_check(const std::string& rule) {
    const Event value = next();
    if (value.type == YAML_SEQUENCE_START_EVENT) return read_any(rule);
    if (value.type != YAML_SCALAR_EVENT) fail(value.line, "its check must be a text or a list", rule);
    if (value.plain && (value.text.empty() || value.text == "~" || value.text == "null"))
      fail(value.line, "it has no check; write \"\" if all may do it, \"!\" if nobody may", rule);
    return value.text;
  }

  /// oslo's older form: the outer list is an "or", the inner lists are "and". An empty outer list always
  /// holds.
  std::string read_any(const std::string& rule) {
    std::string check;
    bool some = false;
    for (Event item = next(); item.type != YAML_SEQUENCE_END_EVENT; item = next()) {
      some = true;
      const std::string part =
          item.type == YAML_SEQUENCE_START_EVENT ? read_all(rule) : one_check(item, rule);
      if (!part.empty()) check += (check.empty() ? "" : " or ") + part;
    }
    return some && check.empty() ? "!" : check;
  }

  std::string read_all(const std::string& rule) {
    std::string checks;
    for (Event item = next(); item.type != YAML_SEQUENCE_END_EVENT; item = next())
      checks += (checks.empty() ? "" : " and ") + one_check(item, rule);
    return checks;
  }

  std::string one_check(const Event& item, const std::string& rule) const {
    if (item.type != YAML_SCALAR_EVENT || item.text.empty() ||
        item.text.find_first_of(" \t\r\n") != std::string::npos)
      fail(item.line, "in a list of lists each entry is one check, as \"role:admin\"", rule);
    return item.text;
  }

  yaml_parser_t parser_{};
  const std::string& file_;
};

}  // namespace

std::vector<FileRule> parse_policy_file(std::string_view yaml, const std::string& file) {
  return Reader(yaml, file).read();
}

std::vector<FileRule> read_policy_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad())
    throw Fault(FaultKind::not_found, fmt::format("The policy file {} cannot be read.", path),
                "policy.file names it; the control plane's account must be able to read it.");
  text.resize(static_cast<size_t>(in.gcount()));
  return parse_policy_file(text, path);
}

}  // namespace virga::api
