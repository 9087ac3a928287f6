#include "cli/api.h"

int main(int argc, char** argv) { return virga::cli::main(argc, argv); }
