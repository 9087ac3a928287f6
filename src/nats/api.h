#pragma once
// A client of NATS (docs.nats.io, "Client Protocol"): one subject, on which all controllers of a cloud say what is to be looked
// at again. At most once: what is said while there is no connection is lost, and whoever relies on it must find out by itself.
//
// The server is not trusted: each line and message is bounded, anything malformed drops the connection. It is found again with
// growing pauses (50 ms to 2 s).
//
// Threads: Client is thread-safe. `on_message` runs on the client's own thread, one at a time: it may take its time, other
// messages wait meanwhile.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace virga::nats {

struct Options {
  std::string url;   ///< "tls://[USER:PASSWORD@]HOST:PORT" or "nats://…"
  std::string subject, name;
  std::function<void(std::string_view)> on_message;
  // For tls://
  std::string ca_file;           ///< PEM: whom to trust
  std::string certificate_file;  ///< PEM with certificate and key, to show; "" = none
  std::string server_name;       ///< what the server's certificate must be for; "" = the URL's host
  // If the URL has none
  std::string user, password;
};

class Client {
 public:
  virtual ~Client() = default;
  /// Sends it, if there is a connection. Quick: queued, and dropped when too much waits.
  virtual void publish(std::string_view text) = 0;
  virtual bool connected() const = 0;
};

/// Connects in the background. Throws Fault(bad_request) if the URL is none.
std::unique_ptr<Client> connect(Options options);

}  // namespace virga::nats
