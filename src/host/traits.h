#pragma once
// What a host can do, as the standard traits of OpenStack (os-traits): flavors and images may ask for them
// (trait:NAME=required).

#include <string>
#include <string_view>
#include <vector>

namespace virga::host {

/// Of every host of this program: what its servers are made of.
std::vector<std::string> compute_traits(std::string_view cpu_arch);
/// HW_CPU_X86_…: of the text of /proc/cpuinfo. Guests have what their host has under KVM only.
std::vector<std::string> cpu_traits(std::string_view cpuinfo);

}  // namespace virga::host
