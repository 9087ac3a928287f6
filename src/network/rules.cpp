// Neutron's rules as Zed documents them: the default of secure RBAC, the scopes it is made for, and the older default that
// lets a call through as well until policy.new_defaults is set. The rules of attributes are asked by row_policy.cpp: a row
// here is all it takes.
//
// Where Virga differs: a project reads its own quotas, which neutron lets it do before it asks get_quota; and extensions
// and tags, for which neutron has no rule, have one.
#include "network/rules.h"

namespace virga::network {
namespace {

constexpr std::string_view kProject = "project";

constexpr std::string_view kAdmin = "rule:admin_only";
constexpr std::string_view kMember = "(rule:admin_only) or (role:member and project_id:%(project_id)s)";
constexpr std::string_view kReader = "(rule:admin_only) or (role:reader and project_id:%(project_id)s)";
constexpr std::string_view kOwnerBefore = "rule:admin_or_owner";
constexpr std::string_view kAnyBefore = "rule:regular_user";
constexpr std::string_view kNetworkReader =
    "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared or rule:external "
    "or rule:context_is_advsvc";
constexpr std::string_view kNetworkReaderBefore =
    "rule:admin_or_owner or rule:shared or rule:external or rule:context_is_advsvc";
constexpr std::string_view kPortOwner =
    "not rule:network_device or rule:admin_only or rule:context_is_advsvc or rule:network_owner";
constexpr std::string_view kPortOwnerBefore =
    "not rule:network_device or rule:context_is_advsvc or rule:admin_or_network_owner";
constexpr std::string_view kOnNetwork = "rule:context_is_advsvc or rule:network_owner or rule:admin_only";
constexpr std::string_view kOnNetworkBefore = "rule:context_is_advsvc or rule:admin_or_network_owner";
constexpr std::string_view kOnSharedNetwork =
    "rule:context_is_advsvc or rule:network_owner or rule:admin_only or rule:shared";
constexpr std::string_view kOnSharedNetworkBefore =
    "rule:context_is_advsvc or rule:admin_or_network_owner or rule:shared";
constexpr std::string_view kNetworkOwner = "rule:admin_only or rule:network_owner";
constexpr std::string_view kNetworkOwnerBefore = "rule:admin_or_network_owner";
constexpr std::string_view kPortReader =
    "rule:admin_only or rule:context_is_advsvc or rule:network_owner or role:reader and "
    "project_id:%(project_id)s";
constexpr std::string_view kPortReaderBefore = "rule:context_is_advsvc or rule:admin_owner_or_network_owner";
constexpr std::string_view kPortMember =
    "rule:admin_only or role:member and project_id:%(project_id)s or rule:context_is_advsvc";
constexpr std::string_view kPortMemberBefore = "rule:admin_or_owner or rule:context_is_advsvc";
constexpr std::string_view kPortDeleter =
    "rule:admin_only or rule:context_is_advsvc or role:member and project_id:%(project_id)s or "
    "rule:network_owner";
constexpr std::string_view kSubnetMember =
    "(rule:admin_only) or (role:member and project_id:%(project_id)s) or role:member and "
    "rule:network_owner";
constexpr std::string_view kSubnetReader =
    "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared";
constexpr std::string_view kSubnetReaderBefore = "rule:admin_or_owner or rule:shared";
constexpr std::string_view kGroupReader =
    "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_security_group";
constexpr std::string_view kRuleReader =
    "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:sg_owner";
constexpr std::string_view kPoolReader =
    "(rule:admin_only) or (role:reader and project_id:%(project_id)s) or rule:shared_subnetpools";
constexpr std::string_view kPoolReaderBefore = "rule:admin_or_owner or rule:shared_subnetpools";
constexpr std::string_view kAdvancedService = "rule:admin_only or rule:context_is_advsvc";
constexpr std::string_view kUpdatesOnNetwork =
    "rule:context_is_advsvc or rule:network_owner or rule:admin_only";

constexpr api::RuleDefault kRules[] = {
    {"context_is_admin", "role:admin"},
    {"owner", "tenant_id:%(tenant_id)s"},
    {"admin_or_owner", "rule:context_is_admin or rule:owner"},
    {"context_is_advsvc", "role:advsvc"},
    {"admin_or_network_owner", "rule:context_is_admin or tenant_id:%(network:tenant_id)s"},
    {"admin_owner_or_network_owner", "rule:owner or rule:admin_or_network_owner"},
    {"network_owner", "tenant_id:%(network:tenant_id)s"},
    {"admin_only", "rule:context_is_admin"},
    {"regular_user", ""},
    {"shared", "field:networks:shared=True"},
    {"external", "field:networks:router:external=True"},
    {"network_device", "field:port:device_owner=~^network:"},
    {"sg_owner", "tenant_id:%(security_group:tenant_id)s"},
    {"admin_or_sg_owner", "rule:context_is_admin or tenant_id:%(security_group:tenant_id)s"},
    {"admin_owner_or_sg_owner", "rule:owner or rule:admin_or_sg_owner"},
    {"shared_security_group", "field:security_groups:shared=True"},
    {"shared_subnetpools", "field:subnetpools:shared=True"},
    {"get_availability_zone", "role:reader", kProject, kAnyBefore},
    {"create_floatingip", kMember, kProject, kAnyBefore},
    {"create_floatingip:floating_ip_address", kAdmin, kProject},
    {"get_floatingip", kReader, kProject, kOwnerBefore},
    {"update_floatingip", kMember, kProject, kOwnerBefore},
    {"delete_floatingip", kMember, kProject, kOwnerBefore},
    {"create_network", kMember, kProject, kAnyBefore},
    {"create_network:shared", kAdmin, kProject},
    {"create_network:router:external", kAdmin, kProject},
    {"create_network:is_default", kAdmin, kProject},
    {"create_network:port_security_enabled", kMember, kProject, kAnyBefore},
    {"create_network:provider:network_type", kAdmin, kProject},
    {"create_network:provider:physical_network", kAdmin, kProject},
    {"create_network:provider:segmentation_id", kAdmin, kProject},
    {"get_network", kNetworkReader, kProject, kNetworkReaderBefore},
    {"get_network:provider:network_type", kAdmin, kProject},
    {"get_network:provider:physical_network", kAdmin, kProject},
    {"get_network:provider:segmentation_id", kAdmin, kProject},
    {"update_network", kMember, kProject, kOwnerBefore},
    {"update_network:shared", kAdmin, kProject},
    {"update_network:provider:network_type", kAdmin, kProject},
    {"update_network:provider:physical_network", kAdmin, kProject},
    {"update_network:provider:segmentation_id", kAdmin, kProject},
    {"update_network:router:external", kAdmin, kProject},
    {"update_network:is_default", kAdmin, kProject},
    {"update_network:port_security_enabled", kMember, kProject, kOwnerBefore},
    {"delete_network", kMember, kProject, kOwnerBefore},
    {"create_port", kMember, kProject, kAnyBefore},
    {"create_port:device_owner", kPortOwner, kProject, kPortOwnerBefore},
    {"create_port:mac_address", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"create_port:fixed_ips", kOnSharedNetwork, kProject, kOnSharedNetworkBefore},
    {"create_port:fixed_ips:ip_address", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"create_port:fixed_ips:subnet_id", kOnSharedNetwork, kProject, kOnSharedNetworkBefore},
    {"create_port:port_security_enabled", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"create_port:binding:host_id", kAdmin, kProject},
    {"create_port:binding:profile", kAdmin, kProject},
    {"create_port:binding:vnic_type", kMember, kProject, kAnyBefore},
    {"create_port:allowed_address_pairs", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"create_port:allowed_address_pairs:mac_address", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"create_port:allowed_address_pairs:ip_address", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"get_port", kPortReader, kProject, kPortReaderBefore},
    {"get_port:binding:vif_type", kAdmin, kProject},
    {"get_port:binding:vif_details", kAdmin, kProject},
    {"get_port:binding:host_id", kAdmin, kProject},
    {"get_port:binding:profile", kAdmin, kProject},
    {"update_port", kPortMember, kProject, kPortMemberBefore},
    {"update_port:device_owner",
     "not rule:network_device or rule:context_is_advsvc or rule:network_owner or rule:admin_only",
     kProject, kPortOwnerBefore},
    {"update_port:mac_address", kAdvancedService, kProject},
    {"update_port:fixed_ips", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"update_port:fixed_ips:ip_address", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"update_port:fixed_ips:subnet_id", kOnSharedNetwork, kProject, kOnSharedNetworkBefore},
    {"update_port:port_security_enabled", kUpdatesOnNetwork, kProject, kOnNetworkBefore},
    {"update_port:binding:host_id", kAdmin, kProject},
    {"update_port:binding:profile", kAdmin, kProject},
    {"update_port:binding:vnic_type", kPortMember, kProject, kPortMemberBefore},
    {"update_port:allowed_address_pairs", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"update_port:allowed_address_pairs:mac_address", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"update_port:allowed_address_pairs:ip_address", kNetworkOwner, kProject, kNetworkOwnerBefore},
    {"delete_port", kPortDeleter, kProject, kPortReaderBefore},
    {"get_quota", "rule:admin_only or rule:owner", kProject},
    {"update_quota", kAdmin, kProject},
    {"delete_quota", kAdmin, kProject},
    {"create_router", kMember, kProject, kAnyBefore},
    {"create_router:distributed", kAdmin, kProject},
    {"create_router:ha", kAdmin, kProject},
    {"create_router:external_gateway_info", kMember, kProject, kOwnerBefore},
    {"create_router:external_gateway_info:network_id", kMember, kProject, kOwnerBefore},
    {"create_router:external_gateway_info:enable_snat", kAdmin, kProject},
    {"create_router:external_gateway_info:external_fixed_ips", kAdmin, kProject},
    {"get_router", kReader, kProject, kOwnerBefore},
    {"get_router:distributed", kAdmin, kProject},
    {"get_router:ha", kAdmin, kProject},
    {"update_router", kMember, kProject, kOwnerBefore},
    {"update_router:distributed", kAdmin, kProject},
    {"update_router:ha", kAdmin, kProject},
    {"update_router:external_gateway_info", kMember, kProject, kOwnerBefore},
    {"update_router:external_gateway_info:network_id", kMember, kProject, kOwnerBefore},
    {"update_router:external_gateway_info:enable_snat", kAdmin, kProject},
    {"update_router:external_gateway_info:external_fixed_ips", kAdmin, kProject},
    {"delete_router", kMember, kProject, kOwnerBefore},
    {"add_router_interface", kMember, kProject, kOwnerBefore},
    {"remove_router_interface", kMember, kProject, kOwnerBefore},
    {"create_security_group", kMember, kProject, kOwnerBefore},
    {"get_security_group", kGroupReader, kProject, kAnyBefore},
    {"update_security_group", kMember, kProject, kOwnerBefore},
    {"delete_security_group", kMember, kProject, kOwnerBefore},
    {"create_security_group_rule", kMember, kProject, kOwnerBefore},
    {"get_security_group_rule", kRuleReader, kProject, "rule:admin_owner_or_sg_owner"},
    {"delete_security_group_rule", kMember, kProject, kOwnerBefore},
    {"create_subnet", "rule:admin_only or role:member and rule:network_owner", kProject, kNetworkOwnerBefore},
    {"create_subnet:service_types", kAdmin, kProject},
    {"get_subnet", kSubnetReader, kProject, kSubnetReaderBefore},
    {"update_subnet", kSubnetMember, kProject, kNetworkOwnerBefore},
    {"update_subnet:service_types", kAdmin, kProject},
    {"delete_subnet", kSubnetMember, kProject, kNetworkOwnerBefore},
    {"create_subnetpool", kMember, kProject, kAnyBefore},
    {"create_subnetpool:shared", kAdmin, kProject},
    {"create_subnetpool:is_default", kAdmin, kProject},
    {"get_subnetpool", kPoolReader, kProject, kPoolReaderBefore},
    {"update_subnetpool", kMember, kProject, kOwnerBefore},
    {"update_subnetpool:is_default", kAdmin, kProject},
    {"delete_subnetpool", kMember, kProject, kOwnerBefore},
    {"get_extension", kAnyBefore},
    {"get_tags", kAnyBefore},
    {"update_tags", kOwnerBefore},
    {"delete_tags", kOwnerBefore},
    {"virga:explain_port", kAdmin, kProject},
};

}  // namespace

std::span<const api::RuleDefault> rules() { return kRules; }

}  // namespace virga::network
