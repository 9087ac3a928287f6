#pragma once
// What the lab's commands share: steps that say how long they took, one command at a time, files that may not be there.

#include <chrono>
#include <functional>
#include <string>

#include "cloud/bring_up.h"

namespace virga::lab {

template <class F>
void timed(const std::string& step, const cloud::StepDone& done, F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  if (done)
    done(step, std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start));
}

/// The text of a file, or "".
std::string text_of(const std::string& file);
/// A descriptor that holds the folder's lock; the kernel drops it with the process, however it ends. Throws Fault(conflict) if
/// another command holds it or there is no such folder.
int lock_folder(const std::string& folder);
/// What `virga token create` says is kept in `file` until the join with it is done, so that one that was cut off goes on with
/// the token it began with; if that is good no more, there is another.
void join_with_kept_line(const std::string& file, const std::function<std::string()>& create_token,
                         const std::function<void(const std::string& said)>& join);

}  // namespace virga::lab
