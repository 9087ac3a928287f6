#include "base/allocator.h"

#include <malloc.h>
#ifdef VIRGA_MIMALLOC
#include <mimalloc.h>
#endif

namespace virga {

#ifdef VIRGA_MIMALLOC

void tune_allocator() {}  // its defaults are right

void release_free_memory() { mi_collect(true); }

#else

void tune_allocator() {
  mallopt(M_ARENA_MAX, 2);
  mallopt(M_TRIM_THRESHOLD, 64 << 20);
  mallopt(M_MMAP_THRESHOLD, 16 << 20);
}

void release_free_memory() { malloc_trim(0); }

#endif

}  // namespace virga
