#pragma once
// Bodies as the Identity API has them, and small helpers that the resources share.

#include <string>
#include <string_view>

#include "api/api.h"
#include "identity/table.h"

namespace virga::identity {

class Core;

json::object user_view(const Core& core, const api::Call& call, const UserRow& user);
json::object project_view(const api::Call& call, const ProjectRow& project,
                          const std::vector<std::string>& tags);
json::object domain_view(const api::Call& call, const ProjectRow& domain,
                         const std::vector<std::string>& tags = {});
json::object group_view(const api::Call& call, const GroupRow& group);
json::object role_view(const api::Call& call, const RoleRow& role);

/// {"self": ".../v3/users/ID"}
json::object self_link(const api::Call& call, std::string_view collection, const std::string& id);
/// {"users": […], "links": {next, self, previous}}
http::Response list_reply(const api::Call& call, std::string_view plural, json::array items,
                          const std::string& next_marker = {});
/// {"user": {…}}
http::Response item_reply(int status, std::string_view name, json::object item);

/// "2026-11-23T12:00:00.000000", without zone, as keystone shows most times; null if there is none.
json::value time_view(const std::optional<Time>& time);
/// Adds the request's password_expires_at ("lt:2026-11-23T12:00:00Z"), if it has one, as a condition on
/// users.
void add_password_expiry_filter(const api::Call& call, api::Where& where);
/// A time that a client gives for the end of something: it must be one, and not be over.
Time read_expiry(std::string_view text, Time now);

/// Moves what the resource has no row for out of the attributes: keystone's "extra".
json::object take_extra(const api::Resource& resource, json::object& attributes);
/// Applies an update to stored extra attributes: null removes.
void merge_extra(json::object& stored, const json::object& changes);
/// What the body says under `key`, with nothing checked, for the rules that look at it; {} if it says nothing. Keystone
/// asks its rules before it looks at what is wrong with a body.
json::object unchecked_body(api::Call& call, std::string_view key);
/// The body's object for an update, checked that an id in it is the one in the path.
json::object update_body(api::Call& call, const api::Resource& resource, const std::string& id);

/// The domain that a request without domain_id means: the token's, or its project's, or "default".
std::string own_domain(const api::Call& call);
/// Keystone counts a flag in the query as set unless it is "0".
bool query_flag(const api::Call& call, std::string_view name);
/// How keystone's lists are read: no upper limit of a page, inexact filters.
api::ListRules list_rules();
/// For lists: a domain-scoped caller without system rights sees its own domain only.
void confine(const api::Call& call, api::Where& where, std::string_view column = "domain_id");

}  // namespace virga::identity
