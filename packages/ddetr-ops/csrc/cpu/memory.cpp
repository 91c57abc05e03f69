#include "memory.h"

#include <algorithm>
#include <atomic>
#include <chrono>
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

struct HugePages {
  char* first;
  size_t count;
};

HugePages whole_pages(void* memory, size_t bytes) {
  const uintptr_t first = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(memory) + bytes) / kHugePage;
  return {reinterpret_cast<char*>(first * kHugePage), last > first ? last - first : 0};
}

// A hint: a kernel without huge pages refuses, and nothing is lost.
void advise(const HugePages& pages) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (pages.count > 0) (void)madvise(pages.first, pages.count * kHugePage, MADV_HUGEPAGE);
#else
  (void)pages;
#endif
}

using Clock = std::chrono::steady_clock;
constexpr Clock::duration kSlow = std::chrono::milliseconds(1);
constexpr Clock::duration kPause = std::chrono::seconds(1);
std::atomic<Clock::rep> paused_until{0};

// Writes to a page that nobody has read; whether the system was long in providing it.
bool is_slow(char* page) {
  const Clock::time_point before = Clock::now();
  *static_cast<volatile char*>(page) = 0;
  return Clock::now() - before > kSlow;
}

}  // namespace

void* scratch(size_t bytes) {
  if (bytes > thread_scratch.bytes) {
    const size_t unit = bytes >= kWorthHugePages ? kHugePage : 64;
    const size_t rounded = (bytes + unit - 1) / unit * unit;
    thread_scratch = Scratch();
    thread_scratch.memory.reset(std::aligned_alloc(unit, rounded));
    if (!thread_scratch.memory) throw std::bad_alloc();
    thread_scratch.bytes = rounded;
    if (bytes >= kWorthHugePages) advise(whole_pages(thread_scratch.memory.get(), rounded));
  }
  return thread_scratch.memory.get();
}

void use_huge_pages(void* memory, size_t bytes) {
  if (bytes < kWorthHugePages) return;
  if (Clock::now().time_since_epoch().count() < paused_until) return;
  HugePages left = whole_pages(memory, bytes);
  for (size_t count = 1; left.count > 0; count *= 2) {
    const HugePages next = {left.first, std::min(count, left.count)};
    advise(next);
    if (is_slow(next.first)) {
      paused_until = (Clock::now() + kPause).time_since_epoch().count();
      return;
    }
    left = {next.first + next.count * kHugePage, left.count - next.count};
  }
}

}  // namespace ddetr::cpu
