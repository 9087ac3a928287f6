# Its test starts a slapd (#include "tests/support/slapd.h").
target_include_directories(virga_ldap PUBLIC ${CMAKE_SOURCE_DIR})
