#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ddetr::cpu {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kWorthHugePages = 2 * kHugePage;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

struct Scratch {
  std::unique_ptr<void, Free> memory;
  size_t bytes = 0;
};

thread_local Scratch thread_scratch;

}  // namespace

void* scratch(size_t bytes) {
  if (bytes > thread_scratch.bytes) {
    const size_t unit = bytes >= kWorthHugePages ? kHugePage : 64;
    const size_t rounded = (bytes + unit - 1) / unit * unit;
    thread_scratch = Scratch();
    thread_scratch.memory.reset(std::aligned_alloc(unit, rounded));
    if (!thread_scratch.memory) throw std::bad_alloc();
    thread_scratch.bytes = rounded;
    use_huge_pages(thread_scratch.memory.get(), rounded);
  }
  return thread_scratch.memory.get();
}

void use_huge_pages(void* memory, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes < kWorthHugePages) return;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(memory) + bytes) / kHugePage;
  if (last <= first) return;
  // A hint: a kernel without huge pages refuses, and nothing is lost.
  (void)madvise(reinterpret_cast<void*>(first * kHugePage), (last - first) * kHugePage,
                MADV_HUGEPAGE);
#else
  (void)memory;
  (void)bytes;
#endif
}

}  // namespace ddetr::cpu
