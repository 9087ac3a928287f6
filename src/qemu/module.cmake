# libarchive writes config drives and initrds and reads .deb files.
target_link_libraries(virga_qemu PUBLIC archive)
