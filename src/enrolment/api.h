#pragma once
// How a machine becomes a host of this cloud, and how it stays the one it is.
//
//   token     An administrator makes a one-time token (`virga token create`); who holds it may enrol one host.
//   enrol     The new machine makes a key, and sends token, name and a request for a certificate (PKCS #10). It gets a
//             certificate that names it: the common name is its host name, by which OVN knows its chassis
//             (ovn-architecture, "Role-Based Access Controls"); a URI names its id, by which the agent link knows it.
//   connect   The agent link takes certificates of this CA only. `admit` holds each connection to what was enrolled:
//             that id, that host name, a certificate that was given out to it and not taken back since.
//   renew     A connected agent asks for a new certificate before the old one ends; both are good until the new one is
//             first used.
//   remove    Its certificates are good for nothing from then on.
//
// A token of the kind "controller" makes of a machine another controller: for it that machine gets the configuration, database
// URL included, and the master key. So it is as good as the cloud itself, lives ten minutes unless told otherwise, and serves
// one machine. It may have something with it that is for that machine alone, `sealed` with a key that the token's text has and the
// database has not (the key of the API's CA: cloud/join.h).
//
// A token is used once, but a host that lost the answer may ask again with the same key.
//
// The CA is this cloud's own and signs hosts and controllers only. Its key lies in the database, sealed with a master
// key that does not: each controller holds that in a file.
//
// Threads: all functions are thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "api/service.h"
#include "base/certificate.h"
#include "base/clock.h"
#include "base/ids.h"
#include "controllers/api.h"
#include "db/api.h"

namespace virga::enrolment {

struct Options {
  std::string master_key_file;  ///< 32 bytes as base64; made if it is missing and nothing is sealed yet
  std::string address;          ///< of this controller to hosts; "": it takes none
  int link_port = 5001;
  int southbound_port = 6642;
  /// Who they are, if there may be several; null: this is the only one, and its database is no other's.
  const controllers::Controllers* controllers = nullptr;
  std::string controller_config;  ///< what a machine that becomes a controller takes over, as virga.toml
};

/// What proves who a peer of the agent link is.
struct PeerProof {
  HostId host;              ///< as its certificate says
  std::string fingerprint;  ///< of that certificate
};

class Enrolment {
 public:
  virtual ~Enrolment() = default;
  /// The service with its routes, to mount. Lives as long as this.
  virtual api::Service& service() = 0;
  /// Certificate (PEM) of the CA that signs hosts.
  virtual std::string ca() = 0;
  /// A new certificate and key for this controller under these names, for its end of the agent link and for OVN's
  /// southbound database.
  virtual PemPair controller_certificate(const std::vector<std::string>& names) = 0;
  /// Throws Fault(forbidden) that says why unless a connection with this proof may speak for that host. True if its
  /// certificate is a new one that it uses for the first time: then settle_certificate is due. Only reads.
  virtual bool admit(db::Tx& tx, const PeerProof& proof, const std::string& hostname) = 0;
  /// Remembers that the host uses this certificate now: older ones are no longer taken.
  virtual void settle_certificate(db::Tx& tx, const PeerProof& proof) = 0;
  /// Another certificate (PEM) for an enrolled host. Throws Fault(bad_request), Fault(forbidden).
  virtual std::string renew(const HostId& host, const std::string& request) = 0;
  /// The host is none of this cloud's any more. True if it was enrolled.
  virtual bool remove(db::Tx& tx, const HostId& host) = 0;
};

std::unique_ptr<Enrolment> make_enrolment(Options options, db::Database& database, const Clock& clock);

/// The host that a certificate of ours names; empty if it names none.
HostId host_of(const Certificate& certificate);

}  // namespace virga::enrolment
