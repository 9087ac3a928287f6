# libarchive writes config drives and initrds and reads .deb files; libcrypt hashes the tiny guest's password.
target_link_libraries(virga_qemu PUBLIC archive crypt)

# The tiny guest's scripts live in packaging/guest and are compiled in, so that one binary suffices.
file(GLOB guest_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/packaging/guest/*)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${guest_files})
set(guest_table "")
foreach(file ${guest_files})
  file(READ ${file} content)
  get_filename_component(name ${file} NAME)
  string(APPEND guest_table "    {\"${name}\", R\"virga(${content})virga\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/qemu/guest_files.cpp CONTENT
"#include \"qemu/guest_files.h\"
namespace virga::qemu {
const std::map<std::string, std::string_view>& guest_files() {
  static const std::map<std::string, std::string_view> files{
@guest_table@  };
  return files;
}
}  // namespace virga::qemu
" @ONLY)
target_sources(virga_qemu PRIVATE ${CMAKE_BINARY_DIR}/generated/qemu/guest_files.cpp)
