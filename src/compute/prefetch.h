#pragma once
// Images on hosts before a server there needs them: nova's "cache images" of an aggregate
// (POST /os-aggregates/{id}/images, Compute API 2.81). Each image on each host is an operation of that host, which its agent is
// told of until it reports an end; so it goes on over the end of agent, controller and connection.

#include "compute/core.h"
#include "compute/routes.h"
#include "operations/api.h"

namespace virga::compute {

/// Our operation's kind; its resource is a host.
constexpr std::string_view kPrefetchOperation = "cache-image";

void add_prefetch_routes(Routes& routes, Core& core);
/// What a host is told.
std::vector<link::Prefetch> prefetches_on(Core& core, db::Tx& tx, const HostId& host);
/// Whether a host is to fetch this image.
bool is_prefetched_on(db::Tx& tx, const HostId& host, const ImageId& image);
/// What the host reports of one of its.
void end_prefetch(Core& core, db::Tx& tx, const HostId& host, const operations::Operation& operation, const link::ActionReport& report);
/// Ends all that a host still has to fetch, without success.
void give_up_prefetches(Core& core, db::Tx& tx, const HostId& host, const std::string& why);

}  // namespace virga::compute
