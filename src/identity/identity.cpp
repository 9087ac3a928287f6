// The service put together.
#include "identity/api.h"

#include "identity/bootstrap.h"
#include "identity/caller_of.h"
#include "identity/catalog.h"
#include "identity/core.h"
#include "identity/credential_table.h"
#include "identity/routes.h"
#include "identity/rules.h"
#include "identity/table.h"

namespace virga::identity {
namespace {

class IdentityService final : public Identity {
 public:
  IdentityService(Options options, db::Database& database, api::Policy& policy, const Clock& clock)
      : core_(std::move(options), database, policy, clock) {
    service_.name = "keystone";
    service_.type = "identity";
    service_.title = "Identity Service";
    service_.prefix = "/identity";
    service_.bare = {"/v3"};
    service_.catalog_path = "/identity";
    service_.faults = api::FaultStyle::keystone;
    service_.rules = rules();
    for (auto* add : {add_discovery_routes,
                      add_auth_routes,
                      add_token_routes,
                      add_available_scope_routes,
                      add_revocation_routes,
                      add_user_routes,
                      add_application_credential_routes,
                      add_access_rule_routes,
                      add_trust_routes,
                      add_credential_routes,
                      add_ec2_credential_routes,
                      add_ec2_token_routes,
                      add_group_routes,
                      add_project_routes,
                      add_domain_routes,
                      add_role_routes,
                      add_grant_routes,
                      add_assignment_routes,
                      add_catalog_routes,
                      add_region_routes,
                      add_domain_config_routes,
                      add_policy_routes,
                      add_endpoint_filter_routes,
                      add_oauth1_routes,
                      add_oauth1_flow_routes,
                      add_oauth2_routes,
                      add_limit_routes,
                      add_registered_limit_routes,
                      add_identity_provider_routes,
                      add_federation_routes})
      add(core_, service_.routes);
  }

  api::Service& service() override { return service_; }

  std::shared_ptr<const api::Caller> authenticate(std::string_view token) override {
    auto session = core_.session(token);
    const api::Caller* caller = session ? &session->caller : nullptr;
    return std::shared_ptr<const api::Caller>(std::move(session), caller);
  }

  api::Caller caller_of(const CallerQuestion& question) override { return identity::caller_of(core_, question); }

  void bootstrap(const Bootstrap& what) override {
    identity::bootstrap(core_, what);
    reseal_credentials(core_);
  }

  void set_catalog(const std::vector<api::Service*>& services) override {
    core_.built_in.clear();
    for (const auto* s : services)
      if (!s->catalog_path.empty())
        core_.built_in.push_back(
            {stable_id("service " + s->type), s->type, s->name, s->title, s->catalog_path});
  }

  Rotated rotate_keys(bool credentials) override {
    Rotated done;
    const auto used = core_.options.token_lifetime + core_.options.allow_expired_window;
    done.token_keys = core_.keys.rotate(static_cast<size_t>(core_.options.max_active_keys), used);
    if (!credentials) return done;
    const Resealed resealed = rotate_credential_keys(core_);
    done.credentials_sealed = resealed.sealed;
    done.credentials_unreadable = resealed.unreadable;
    return done;
  }

  size_t replace_token_keys() override {
    // The first makes the staged key primary, the second the one that was made by the first.
    core_.keys.rotate(2);
    const size_t left = core_.keys.rotate(2);
    core_.change([](db::Tx&) {});  // what is known of tokens is forgotten, on every controller
    return left;
  }

  void look_at_keys() override {
    core_.keys.look();
    core_.credential_keys.look();
  }

  std::optional<std::string> project_name(db::Tx& tx, const std::string& project_id) override {
    const auto project = find_project(tx, project_id);
    return project ? std::optional(project->name) : std::nullopt;
  }

 private:
  Core core_;
  api::Service service_;
};

}  // namespace

std::unique_ptr<Identity> make_identity(Options options, db::Database& database, api::Policy& policy,
                                        const Clock& clock) {
  return std::make_unique<IdentityService>(std::move(options), database, policy, clock);
}

}  // namespace virga::identity
