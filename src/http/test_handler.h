#pragma once
// A handler with one of each kind of answer, for tests of the server over any transport (included only by
// *_test.cpp).

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "http/api.h"

namespace virga::test {

using http::BodyMode;
using http::Handler;
using http::Request;
using http::Responder;
using http::Response;
using http::WebSocket;

struct TestHandler : Handler {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<Responder>> kept;
  bool entered = false, released = false;  ///< of "/block"
  BodyMode body_mode(const Request& head) override {
    if (head.path == "/broken") throw std::runtime_error("no mode");
    return head.path == "/up" ? BodyMode::streamed : BodyMode::buffered;
  }
  void handle(Request request, std::shared_ptr<Responder> responder) override {
    Response response;
    response.body = request.method + " " + request.path + " " + request.body;
    if (request.path == "/up") {
      std::vector<char> buffer(100'000);
      uint64_t total = 0;
      while (size_t count = request.stream->read(buffer)) total += count;
      response.body = std::to_string(total);
    } else if (request.path == "/down") {
      response.source = [left = uint64_t{64} << 20](std::span<char> into) mutable {
        size_t count = std::min<uint64_t>(left, into.size());
        std::fill_n(into.begin(), count, 'x');
        left -= count;
        return count;
      };
    } else if (request.path == "/tls") {
      response.body = request.tls ? "tls" : "plain";
    } else if (request.path == "/wait") {
      std::lock_guard lock(mutex);
      kept.push_back(std::move(responder));
      return;
    } else if (request.path == "/block") {
      std::unique_lock lock(mutex);
      entered = true;
      changed.notify_all();
      changed.wait(lock, [&] { return released; });
    } else if (request.path == "/fault") {
      throw Fault(FaultKind::conflict, "no");
    } else if (request.path == "/lost") {
      return;
    } else if (request.path == "/ws") {
      response.status = 101;
      response.websocket_protocol = "binary";
      response.websocket = [](std::shared_ptr<WebSocket> ws) {
        std::weak_ptr<WebSocket> weak = ws;
        ws->on_message = [weak](std::string_view bytes) {
          if (auto ws = weak.lock()) ws->send(bytes, true);
        };
      };
    }
    responder->send(std::move(response));
  }
};

}  // namespace virga::test
