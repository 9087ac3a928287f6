#pragma once
// From an HTTP request to a handler and back: finds service and route, authenticates, checks policy, negotiates the
// microversion, and renders faults in the service's own format. conventions.h completes each answer.

#include <memory>
#include <string>
#include <vector>

#include "api/conventions.h"
#include "api/policy.h"
#include "api/service.h"
#include "http/api.h"

namespace virga::api {

struct DispatcherOptions {
  std::string public_url;  ///< "https://cloud.example:5000"; empty = from each request's Host header
  ConventionOptions conventions{};
};

class Dispatcher final : public http::Handler {
 public:
  /// `authenticator` and the services must outlive the dispatcher.
  Dispatcher(DispatcherOptions options, Policy& policy, Authenticator& authenticator);
  ~Dispatcher() override;
  /// Declares the service's rules, and finds each route's. Before the server starts.
  void mount(Service& service);
  const std::vector<Service*>& services() const { return services_; }

  http::BodyMode body_mode(const http::Request& head) override;
  void handle(http::Request request, std::shared_ptr<http::Responder> responder) override;
  http::Response refused(const http::Request& head, int status, std::string_view message) override;

 private:
  class Tree;
  struct Mounted;
  struct Found;
  Found find(const http::Request& request) const;
  http::Response answer(Found& found, Call& call, Answering& answering);
  static void ask_policy(const Route& route, Call& call);
  http::Response root_document(const Call& call) const;
  std::string cloud_url(const http::Request& request) const;

  DispatcherOptions options_;
  Policy& policy_;
  Authenticator& authenticator_;
  Conventions conventions_;
  std::vector<Service*> services_;
  std::vector<std::unique_ptr<Mounted>> mounted_;
};

}  // namespace virga::api
