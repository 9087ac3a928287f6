// Hosts: enrolled with a token, held to their certificates, given new ones, removed.

#include "base/crypto.h"
#include "base/fault.h"
#include "base/kill_point.h"
#include "base/log.h"
#include "base/text.h"
#include "enrolment/service.h"

namespace virga::enrolment {
namespace {

constexpr std::string_view kUri = "virga:host:";

Fault refused(std::string why, std::string hint = "") {
  return Fault(FaultKind::forbidden, std::move(why), std::move(hint));
}

Certificate certificate_of(const std::string& pem) {
  return read_certificates(pem, "a certificate of ours").front();
}

Time end_of(const std::string& pem) {
  return std::chrono::time_point_cast<Time::duration>(valid_until(certificate_of(pem)));
}

json::object view(const HostRow& h) {
  return {{"id", h.id.str()},
          {"hostname", h.hostname},
          {"address", h.address},
          {"enrolled_at", db_to_iso(h.enrolled_at)},
          {"certificate_expires_at", db_to_iso(h.certificate_until)}};
}

}  // namespace

std::string need_text(const json::object& body, std::string_view name, size_t most) {
  std::string text = find_string(body, name);
  if (text.empty() || text.size() > most)
    throw Fault(FaultKind::bad_request, fmt::format("{} must be a text of 1 to {} characters.", name, most));
  return text;
}

Fault unknown_token() {
  return refused("This token is none of this cloud's.", "Make one on a controller: virga token create");
}

TokenRow need_token(db::Tx& tx, std::string_view kind, const std::string& secret, const std::string& key, const std::string& hostname, Time now) {
  const auto token = find_token(tx, secret);
  if (!token) throw unknown_token();
  if (token->kind != kind) throw refused(fmt::format("This token is for a {}.", token->kind), "For a compute host: virga token create. For a controller: virga token create --controller.");
  if (token->expires_at <= to_db(now))
    throw refused(fmt::format("This token ended at {}.", db_to_iso(token->expires_at)),
                  "Make another on a controller: virga token create");
  if (token->used_at && token->used_key != key)
    throw refused("This token was used already.", "Each enrols one host. Make another on a controller: virga token create");
  if (!token->hostname.empty() && token->hostname != hostname)
    throw refused(fmt::format("This token is for the host {}, not for {}.", token->hostname, hostname));
  return *token;
}

void check_hostname(const std::string& name) {
  // The name by which controllers are known is nobody else's.
  const bool sound = name != "controller.virga" && name.size() <= 63 && !name.empty() && name.front() != '-' &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '.'; });
  if (!sound)
    throw Fault(FaultKind::bad_request, fmt::format("\"{}\" is no host name.", name),
                "It has 1 to 63 letters, digits, '-' and '.' (RFC 1123).");
}

HostId host_of(const Certificate& certificate) {
  for (const auto& uri : uris_of(certificate))
    if (uri.rfind(kUri, 0) == 0) return HostId(uri.substr(kUri.size()));
  return {};
}

std::string EnrolmentService::sign(const HostId& host, const std::string& hostname, const std::string& request) {
  return sign_client_certificate(ca_.pair(), request, hostname, std::string(kUri) + host.str(), clock_.now());
}

json::object EnrolmentService::answer_for(const HostId& host, const std::string& certificate) {
  return {{"host", {{"id", host.str()}}},
          {"certificate", certificate},
          {"ca", ca()},
          {"controllers", links()},
          {"southbound_port", options_.southbound_port}};
}

/// The token is the only proof here, so the answer to a wrong one says no more than that.
http::Response EnrolmentService::enrol(api::Call& call) {
  const json::object& given = call.body_of("host");
  const std::string secret = need_text(given, "token", 200), hostname = need_text(given, "hostname", 63),
                    request = need_text(given, "certificate_request", 8192), address = need_text(given, "address", 64);
  check_hostname(hostname);
  // Before anything that costs more than a look at a row.
  if (!database_.read([&](db::Tx& tx) { return find_token(tx, secret).has_value(); })) throw unknown_token();
  const std::string key = request_key_fingerprint(request);
  // Signed before the write: what it costs is a signature, and only who has a token gets here.
  database_.read([&](db::Tx& tx) { need_token(tx, "host", secret, key, hostname, clock_.now()); });
  HostId id;
  std::string certificate;
  const auto prepare = [&](const HostId& for_host) {
    if (id == for_host && !certificate.empty()) return;
    id = for_host;
    certificate = sign(id, hostname, request);
  };
  prepare(HostId(new_uuid()));
  kill_point("enrolment.signed");
  database_.write([&](db::Tx& tx) {
    const TokenRow token = need_token(tx, "host", secret, key, hostname, clock_.now());
    if (token.used_at) {  // the answer was lost: the same host again, with a new certificate
      const auto host = find_host(tx, HostId(token.used_by));
      if (!host) throw refused("The host that this token enrolled was removed.", "Make another: virga token create");
      prepare(host->id);
      offer_certificate(tx, id, fingerprint(certificate_of(certificate)), end_of(certificate), clock_.now());
      return;
    }
    if (const auto other = find_host_by_name(tx, hostname))
      throw Fault(FaultKind::conflict, fmt::format("A host named {} is enrolled already.", hostname),
                  fmt::format("Give this machine another name, or remove the other: virga host remove {}", hostname));
    if (!use_token(tx, token, id, key, clock_.now())) throw refused("This token was used already.");
    HostRow host;
    host.id = id;
    host.hostname = hostname;
    host.address = address;
    host.fingerprint = fingerprint(certificate_of(certificate));
    host.certificate_until = to_db(end_of(certificate));
    insert_host(tx, host, clock_.now());
  });
  kill_point("enrolment.enrolled");
  log::info("host {} ({}, {}) was enrolled", hostname, id.str(), address);
  return api::reply(201, answer_for(id, certificate));
}

http::Response EnrolmentService::list_hosts(api::Call&) {
  json::array all;
  for (const auto& host : database_.read([](db::Tx& tx) { return all_hosts(tx); })) all.push_back(view(host));
  return api::reply(200, json::object{{"hosts", std::move(all)}});
}

bool EnrolmentService::admit(db::Tx& tx, const PeerProof& proof, const std::string& hostname) {
  const auto host = find_host(tx, proof.host);
  if (!host)
    throw refused("This host is not enrolled here, or was removed.", "On it: virga leave. Then a token (virga token create) and virga join.");
  if (proof.fingerprint != host->fingerprint && proof.fingerprint != host->next_fingerprint)
    throw refused("This certificate of the host was replaced.", "virga host remove on a controller, virga leave on it; then virga token create and virga join.");
  if (hostname != host->hostname)
    throw refused(fmt::format("This host was enrolled as {}, not as {}.", host->hostname, hostname),
                  "Give it its name back (compute.host_name), or remove it and enrol it under the new one.");
  return proof.fingerprint == host->next_fingerprint;
}

void EnrolmentService::settle_certificate(db::Tx& tx, const PeerProof& proof) {
  const auto host = find_host(tx, proof.host);
  if (host && host->next_fingerprint == proof.fingerprint) take_certificate(tx, proof.host, proof.fingerprint, clock_.now());
}

std::string EnrolmentService::renew(const HostId& id, const std::string& request) {
  const auto host = database_.read([&](db::Tx& tx) { return find_host(tx, id); });
  if (!host) throw refused("This host is not enrolled here, or was removed.");
  const std::string certificate = sign(id, host->hostname, request);
  database_.write([&](db::Tx& tx) {
    offer_certificate(tx, id, fingerprint(certificate_of(certificate)), end_of(certificate), clock_.now());
  });
  log::info("host {} ({}) got a new certificate", host->hostname, id.str());
  return certificate;
}

bool EnrolmentService::remove(db::Tx& tx, const HostId& host) {
  return delete_host(tx, host);
}

}  // namespace virga::enrolment
