#include "enrolment/rules.h"

namespace virga::enrolment {
namespace {

constexpr std::string_view kAdmin = "rule:enrolment_admin", kScopes = "system project";

constexpr api::RuleDefault kRules[] = {
    {"enrolment_admin", "role:admin"},
    {"enrolment:create_token", kAdmin, kScopes},
    {"enrolment:list_tokens", kAdmin, kScopes},
    {"enrolment:delete_token", kAdmin, kScopes},
    {"enrolment:list_hosts", kAdmin, kScopes},
    {"enrolment:list_controllers", kAdmin, kScopes},
};

}  // namespace

std::span<const api::RuleDefault> rules() {
  return kRules;
}

}  // namespace virga::enrolment
