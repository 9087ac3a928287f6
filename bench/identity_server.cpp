// The identity service alone on a port, for load generators and clients: identity_server PORT PASSWORD.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "identity/api.h"

int main(int argc, char** argv) {
  using namespace virga;
  if (argc != 3) return std::fprintf(stderr, "usage: identity_server PORT PASSWORD\n"), 2;
  char directory[] = "/tmp/virga-identity-XXXXXX";
  if (!::mkdtemp(directory)) return 1;
  const std::string dir = directory;
  sigset_t stop;
  sigemptyset(&stop);
  for (int s : {SIGINT, SIGTERM}) sigaddset(&stop, s);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  {
    SystemClock clock;
    auto database = db::open({.url = "sqlite://" + dir + "/virga.db"});
    database->migrate();
    api::Policy policy;
    auto identity = identity::make_identity({.master_key_file = dir + "/master.key"}, *database, policy, clock);
    identity->bootstrap({.admin_password = argv[2]});
    identity->set_catalog({&identity->service()});
    api::Dispatcher dispatcher({}, policy, *identity);
    dispatcher.mount(identity->service());
    auto server = http::make_server({}, dispatcher);
    server->listen(http::listen_tcp("127.0.0.1", static_cast<uint16_t>(std::atoi(argv[1]))));
    server->start();
    int signal = 0;
    sigwait(&stop, &signal);
    server->stop();
  }
  std::filesystem::remove_all(dir);
}
