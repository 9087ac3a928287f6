# The migrations become part of the binary.
file(GLOB migrations CONFIGURE_DEPENDS ${dir}/migrations/*.sql)
set(embedded ${CMAKE_BINARY_DIR}/generated/db/migrations.cpp)
add_custom_command(OUTPUT ${embedded} DEPENDS ${migrations} ${dir}/embed_migrations.cmake
  COMMAND ${CMAKE_COMMAND} -DOUT=${embedded} -DDIR=${dir}/migrations -P ${dir}/embed_migrations.cmake)
target_sources(virga_db PRIVATE ${embedded})
# Test fixtures that other rooms share: #include "support/mariadb.h"
target_include_directories(virga_db INTERFACE ${CMAKE_SOURCE_DIR}/tests)
