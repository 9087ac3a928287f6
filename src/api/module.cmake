# Tests of every room from here on share tests/support (#include "tests/support/api_client.h").
target_include_directories(virga_api PUBLIC ${CMAKE_SOURCE_DIR})
