#pragma once
// The files of packaging/guest, compiled in.

#include <map>
#include <string>
#include <string_view>

namespace virga::qemu {

/// File name -> content.
const std::map<std::string, std::string_view>& guest_files();
/// Throws Fault(internal) if it is not there.
std::string guest_file(const std::string& name);

}  // namespace virga::qemu
