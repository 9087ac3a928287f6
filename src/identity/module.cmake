# Tests of every service share tests/support (#include "tests/support/api_client.h").
target_include_directories(virga_identity PUBLIC ${CMAKE_SOURCE_DIR})
