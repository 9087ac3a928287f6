#pragma once
// `virga lab poc`, below `virga lab`.

namespace CLI {
class App;
}

namespace virga::cli {

void add_poc_commands(CLI::App& lab);  ///< poc up|status|ssh|exec|restore|down

}  // namespace virga::cli
