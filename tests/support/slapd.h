#pragma once
// For tests: Debian's slapd with a small organisation, in a temporary folder, as nobody, reached over a unix
// socket, or over TCP with TLS. Ends with the object (and with the test program, however that ends).
//
//   dc=example,dc=org                 cn=admin (password "rootpw") may read everything
//     ou=People    ann (sn Ann, mail, password "ann-pw"), ben ("ben-pw", disabled: employeeType FALSE),
//     "odd*(name)" ou=Groups    dev (ann, ben), ops (ann), empty-handed

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>

#include "base/process.h"
#include "base/scope_exit.h"

namespace virga::test {

/// A path as the host of an ldapi URL.
inline std::string percent_encoded(const std::string& path) {
  std::string out;
  for (char c : path) out += c == '/' ? "%2F" : std::string(1, c);
  return out;
}

class Slapd {
 public:
  Slapd() {
    char path[] = "/tmp/virga-test-XXXXXX";
    if (!::mkdtemp(path)) throw std::runtime_error("mkdtemp failed");
    dir_ = path;
    std::filesystem::create_directory(dir_ + "/db");
    make_certificate();
    write_file(conf(), configuration());
    write_file(dir_ + "/data.ldif", organisation());
    if (::getuid() == 0)
      for (const auto& path : {dir_, dir_ + "/db", conf(), dir_ + "/data.ldif", certificate(), key()})
        if (::chown(path.c_str(), kNobody, kNobody) != 0) throw std::runtime_error("chown failed");
    as_nobody({"/usr/sbin/slapadd", "-f", conf(), "-l", dir_ + "/data.ldif"});
    start();
  }
  ~Slapd() {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }
  Slapd(const Slapd&) = delete;
  Slapd& operator=(const Slapd&) = delete;

  void start() {
    Command c{{"/usr/sbin/slapd", "-f", conf(), "-h", url() + " " + tcp_url() + " " + tls_url(), "-d", "0"}};
    c.in_child = [] {
      drop_root();
      prctl(PR_SET_PDEATHSIG, SIGKILL);
    };
    pid_ = spawn(c, dir_ + "/log");
    for (int i = 0; i < 400 && !answers(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(25));
    if (!answers()) throw std::runtime_error("slapd did not start: " + read_file(dir_ + "/log"));
  }
  void stop() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    std::filesystem::remove(socket());
  }
  /// "ldapi://%2Ftmp%2F…"
  std::string url() const { return "ldapi://" + percent_encoded(socket()); }
  std::string tcp_url() const { return "ldap://127.0.0.1:" + std::to_string(port_); }
  std::string tls_url() const { return "ldaps://127.0.0.1:" + std::to_string(tls_port_); }
  /// Signed by itself, for 127.0.0.1.
  std::string certificate() const { return dir_ + "/certificate.pem"; }
  /// Changes the organisation: LDIF for slapadd or slapmodify, done while the server is down.
  void change(const std::string& program, const std::string& ldif) {
    stop();
    write_file(dir_ + "/change.ldif", ldif);
    as_nobody({"/usr/sbin/" + program, "-f", conf(), "-l", dir_ + "/change.ldif"});
    start();
  }

 private:
  static constexpr uid_t kNobody = 65534;
  static void drop_root() {
    if (::getuid() == 0 && (::setgid(kNobody) != 0 || ::setuid(kNobody) != 0)) ::_exit(126);
  }
  static void as_nobody(std::vector<std::string> argv) {
    Command c{std::move(argv)};
    c.in_child = drop_root;
    run_or_throw(c);
  }
  static int free_port() {
    const int s = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const ScopeExit close_it([&] { ::close(s); });
    if (::bind(s, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(s, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no free port");
    return ntohs(address.sin_port);
  }
  bool answers() const {
    const int s = ::socket(AF_UNIX, SOCK_STREAM, 0);
    const ScopeExit close_it([&] { ::close(s); });
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    return ::connect(s, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  void make_certificate() {
    run_or_throw({{"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                   "/CN=slapd of a test", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout",
                   key(), "-out", certificate()}});
  }
  std::string key() const { return dir_ + "/key.pem"; }
  std::string conf() const { return dir_ + "/slapd.conf"; }
  std::string socket() const { return dir_ + "/sock"; }
  std::string configuration() const {
    return "include /etc/ldap/schema/core.schema\n"
           "include /etc/ldap/schema/cosine.schema\n"
           "include /etc/ldap/schema/inetorgperson.schema\n"
           "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
           "pidfile " +
           dir_ + "/pid\nTLSCertificateFile " + certificate() + "\nTLSCertificateKeyFile " + key() +
           "\n"
           "database mdb\nmaxsize 10485760\nsuffix \"dc=example,dc=org\"\n"
           "rootdn \"cn=admin,dc=example,dc=org\"\nrootpw rootpw\n"
           "directory " +
           dir_ +
           "/db\n"
           "access to attrs=userPassword by anonymous auth by * none\naccess to * by users read by * none\n";
  }
  static std::string person(const std::string& cn, const std::string& sn, const std::string& more) {
    return "dn: cn=" + cn + ",ou=People,dc=example,dc=org\nobjectClass: inetOrgPerson\ncn: " + cn +
           "\nsn: " + sn + "\n" + more + "\n";
  }
  static std::string group(const std::string& cn, const std::string& members) {
    return "dn: cn=" + cn + ",ou=Groups,dc=example,dc=org\nobjectClass: groupOfNames\ncn: " + cn +
           "\nou: " + cn + "-name\ndescription: group " + cn + "\n" + members + "\n";
  }
  static std::string organisation() {
    const std::string ann = "member: cn=ann,ou=People,dc=example,dc=org\n",
                      ben = "member: cn=ben,ou=People,dc=example,dc=org\n";
    return "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: "
           "example\n\n"
           "dn: ou=People,dc=example,dc=org\nobjectClass: organizationalUnit\nou: People\n\n"
           "dn: ou=Groups,dc=example,dc=org\nobjectClass: organizationalUnit\nou: Groups\n\n" +
           person("ann", "Ann", "mail: ann@example.org\nuserPassword: ann-pw\nemployeeType: TRUE\n") +
           person("ben", "Ben", "userPassword: ben-pw\nemployeeType: FALSE\n") +
           person("odd*(name)", "Odd", "userPassword: odd-pw\nemployeeType: TRUE\n") +
           group("dev", ann + ben) + group("ops", ann) +
           group("empty-handed", "member: cn=nobody,ou=People,dc=example,dc=org\n");
  }

  std::string dir_;
  const int port_ = free_port(), tls_port_ = free_port();
  pid_t pid_ = -1;
};

}  // namespace virga::test
