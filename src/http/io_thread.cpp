#include "http/io_thread.h"

#include <pthread.h>

namespace virga::http {

void IoThread::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "http-io");
    auto work = net::make_work_guard(context_);
    tick();
    context_.run();
  });
}

void IoThread::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    stopped_ = true;
  }
  context_.stop();
  if (thread_.joinable()) thread_.join();
  timer_.cancel();
  for (auto& session : all()) session->thread_ended();
  context_.restart();
  context_.poll();
}

void IoThread::add(const std::shared_ptr<Swept>& swept) {
  std::lock_guard lock(mutex_);
  sessions_.emplace(swept.get(), swept);
}

void IoThread::remove(Swept* swept) {
  std::lock_guard lock(mutex_);
  sessions_.erase(swept);
}

void IoThread::close_idle() {
  for (auto& session : all()) session->close_if_idle();
}

std::vector<std::shared_ptr<Swept>> IoThread::all() {
  std::vector<std::shared_ptr<Swept>> found;
  std::lock_guard lock(mutex_);
  found.reserve(sessions_.size());
  for (auto& [key, weak] : sessions_)
    if (auto session = weak.lock()) found.push_back(std::move(session));
  return found;
}

void IoThread::tick() {
  timer_.expires_after(std::chrono::milliseconds(250));
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (ec) return;
    int64_t now = now_ms();
    for (auto& session : all()) session->sweep(now);
    tick();
  });
}

}  // namespace virga::http
