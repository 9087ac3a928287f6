#pragma once
// The conventions that all services share. A service (identity, image, …) builds a `Service`: routes as table rows,
// resources as attribute rows. The Dispatcher does the rest. See service.h, schema.h, page.h, policy.h.

#include "api/context.h"
#include "api/dispatcher.h"
#include "api/fault_body.h"
#include "api/page.h"
#include "api/policy.h"
#include "api/record.h"
#include "api/schema.h"
#include "api/service.h"
#include "api/version.h"
