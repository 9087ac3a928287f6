#pragma once
// Debian packages for the tiny guest: fetched once with apt, kept in a folder, unpacked without installing.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace virga::qemu {

struct GuestPackages {
  std::string kernel;               ///< .deb of the cloud kernel
  std::vector<std::string> others;  ///< .debs of what goes into the guest
  std::vector<std::string> boot;    ///< .debs of GRUB and what its image maker needs
};

/// Fetches what is not in `directory` yet; with everything there, no network is used.
GuestPackages fetch_guest_packages(const std::string& directory,
                                   const std::function<void(std::string_view)>& progress);

}  // namespace virga::qemu
