#pragma once
// What a flavor's extra spec asks of a value ("<or> ssd <or> nvme", ">= 4", "true"), in nova's little
// language (extra_specs_ops). Pure.

#include <string_view>

namespace virga::compute {

/// True if the value is what is asked for. Without an operator the texts must be equal; numbers that are none
/// match nothing.
bool extra_spec_matches(std::string_view value, std::string_view asked);

}  // namespace virga::compute
