// Glance's rules as Zed documents them: the default of secure RBAC, the scopes it is made for, and the older default that
// lets a call through as well until policy.new_defaults is set. Whose an image is, is checked besides, as glance does.
// Schemas, for which glance has no rule, have one here.
#include "image/rules.h"

namespace virga::image {
namespace {

constexpr std::string_view kProject = "project";

constexpr std::string_view kMember = "role:admin or (role:member and project_id:%(project_id)s)";
constexpr std::string_view kBefore = "rule:default";
constexpr std::string_view kReader = "role:admin or (role:reader and project_id:%(project_id)s)";
constexpr std::string_view kMembersReader =
    "role:admin or role:reader and (project_id:%(project_id)s or project_id:%(member_id)s)";
constexpr std::string_view kImageReader =
    "role:admin or (role:reader and (project_id:%(project_id)s or project_id:%(member_id)s or "
    "'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";
constexpr std::string_view kImageAdder =
    "role:admin or (role:member and project_id:%(project_id)s and project_id:%(owner)s)";
constexpr std::string_view kDownloader =
    "role:admin or (role:member and (project_id:%(project_id)s or project_id:%(member_id)s or "
    "'community':%(visibility)s or 'public':%(visibility)s or 'shared':%(visibility)s))";

constexpr api::RuleDefault kRules[] = {
    {"default", "", {}, "role:admin"},
    {"context_is_admin", "role:admin"},
    {"add_image", kImageAdder, kProject, kBefore},
    {"delete_image", kMember, kProject, kBefore},
    {"get_image", kImageReader, kProject, kBefore},
    {"get_images", kReader, kProject, kBefore},
    {"modify_image", kMember, kProject, kBefore},
    {"publicize_image", "role:admin", kProject},
    {"communitize_image", kMember, kProject, kBefore},
    {"download_image", kDownloader, kProject, kBefore},
    {"upload_image", kMember, kProject, kBefore},
    {"add_member", kMember, kProject, kBefore},
    {"delete_member", kMember, kProject, kBefore},
    {"get_member", kMembersReader, kProject, kBefore},
    {"get_members", kMembersReader, kProject, kBefore},
    {"modify_member", "role:admin or (role:member and project_id:%(member_id)s)", kProject, kBefore},
    {"deactivate", kMember, kProject, kBefore},
    {"reactivate", kMember, kProject, kBefore},
    {"get_schema", ""},
};

}  // namespace

std::span<const api::RuleDefault> rules() { return kRules; }

}  // namespace virga::image
