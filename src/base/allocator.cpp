#include "base/allocator.h"

#include <malloc.h>

namespace virga {

void tune_allocator() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 16 << 20);
}

void release_free_memory() {
  malloc_trim(0);
}

}  // namespace virga
