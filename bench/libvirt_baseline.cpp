// What libvirt alone takes: defines and starts the domain of an XML file COUNT times, and prints a line of JSON with the
// milliseconds of each (define, start). The baseline of bench/guest_boot.
//   libvirt_baseline URI XML_FILE COUNT

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point from) {
  return std::chrono::duration<double, std::milli>(Clock::now() - from).count();
}

void need(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string(what) + ": " + virGetLastErrorMessage());
}

std::string boot_once(virConnectPtr connection, const std::string& xml) {
  const auto begin = Clock::now();
  virDomainPtr domain = virDomainDefineXML(connection, xml.c_str());
  need(domain, "define");
  const double defined = ms_since(begin);
  need(virDomainCreate(domain) == 0, "start");
  const double started = ms_since(begin);
  need(virDomainDestroy(domain) == 0, "destroy");
  need(virDomainUndefine(domain) == 0, "undefine");
  virDomainFree(domain);
  char line[80];
  std::snprintf(line, sizeof line, "{\"define\": %.1f, \"define_and_start\": %.1f}", defined, started);
  return line;
}

int run(const char* uri, const char* file, int count) {
  std::ifstream in(file);
  std::stringstream xml;
  xml << in.rdbuf();
  virConnectPtr connection = virConnectOpen(uri);
  need(connection, uri);
  for (int i = 0; i < count; ++i) std::printf("%s\n", boot_once(connection, xml.str()).c_str());
  virConnectClose(connection);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "usage: libvirt_baseline URI XML_FILE COUNT\n"), 2;
  return run(argv[1], argv[2], std::atoi(argv[3]));
} catch (const std::exception& e) {
  return std::fprintf(stderr, "%s\n", e.what()), 1;
}
