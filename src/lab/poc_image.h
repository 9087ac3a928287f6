#pragma once
// The image of the proof of concept's machines (lab/poc.h), made from Debian packages: a system with what Virga's package
// depends on (slow, needs the package archive, and is kept), then that package and the files of image_files.

#include <string>

#include "cloud/bring_up.h"
#include "lab/poc_plan.h"

namespace virga::lab {

struct ImageOptions {
  std::string folder;        ///< gets image/disk.raw, image/vmlinuz, image/initrd
  std::string program;       ///< this program: its build makes the package unless `deb` names one
  std::string deb;           ///< Virga's package; "": see find_deb
  std::string packages;      ///< the tiny guest's packages
  std::string public_key;
};

/// Virga's package: the one given, else what the build of this program packs, else one that lies beside it or that apt kept.
/// Throws Fault(not_found) that says how to get one.
std::string find_deb(const ImageOptions& options);
/// Makes the image unless the same one is there. Killed at any point, it is begun again where it was: a system that was made is kept.
void build_image(const ImageOptions& options, const PocShape& shape, const cloud::StepDone& done);
/// True if build_image has nothing to do but look.
bool has_image(const std::string& folder);
/// Ends what a build that was killed left running, and removes its working folder.
void clear_build(const std::string& folder);

}  // namespace virga::lab
