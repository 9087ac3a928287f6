# `cpack -G DEB` in a release build makes virga_VERSION_ARCH.deb: the one binary, its systemd unit, and as dependencies
# the engines. No virga.toml is shipped: built-in defaults apply until `virga config init` writes one, so that an
# upgrade never asks about a changed file.
# `ninja virga` before is enough: a package needs no tests or benches.
set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)
install(FILES ${CMAKE_CURRENT_LIST_DIR}/virga.service DESTINATION lib/systemd/system)
install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION share/doc/virga RENAME copyright)
foreach(page README.md docs/operations.md)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${page})
    install(FILES ${CMAKE_SOURCE_DIR}/${page} DESTINATION share/doc/virga)
  endif()
endforeach()

# What the program starts or loads at run time; shared libraries are found by dpkg-shlibdeps.
set(engines
  libvirt-daemon-system libvirt-clients   # libvirtd, virtlogd; virsh for `virga virsh`
  qemu-system-x86 qemu-utils seabios
  openvswitch-switch ovn-central ovn-host
  iproute2 openssh-client                 # `virga ssh`
  apt e2fsprogs)                          # the tiny guest's packages and disk
list(JOIN engines ", " engines)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME virga)
set(CPACK_PACKAGE_VENDOR "Virga")
set(CPACK_PACKAGE_CONTACT "The Virga developers <virga@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "private cloud with OpenStack's APIs in one binary")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Virga serves the Identity, Image, Placement, Network and Compute APIs of OpenStack
from one program, on libvirt and QEMU/KVM, OVN and an SQL database.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "${engines}")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3-openstackclient")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "mariadb-server, nats-server, novnc")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/debian/postinst ${CMAKE_CURRENT_LIST_DIR}/debian/prerm
  ${CMAKE_CURRENT_LIST_DIR}/debian/postrm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
