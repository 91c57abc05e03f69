// Work on the threads of the OpenMP runtime that PyTorch has loaded: nothing is linked, so that no
// second pool of threads waits beside PyTorch's, and the compiler need not know OpenMP.
#pragma once

#include <atomic>
#include <cstdint>

namespace ddetr::cpu {

// Whether such a runtime is loaded; it is looked for once, after PyTorch. Without one the calling
// thread does all work.
bool has_threads();

// Calls run(context, thread) once on each of at most `threads` threads, which count from 0.
void on_threads(int threads, void (*run)(void* context, int thread), void* context);

// Calls make(thread) on each thread, and what that gives with every index below `count`: each index
// once, and the next one as soon as a thread is free.
template <typename Make>
void for_each_index(int64_t count, int threads, const Make& make) {
  struct Context {
    const Make& make;
    const int64_t count;
    std::atomic<int64_t> next{0};
  };
  Context all{make, count};
  const auto run = [](void* context, int thread) {
    Context& shared = *static_cast<Context*>(context);
    auto work = shared.make(thread);
    for (;;) {
      const int64_t index = shared.next.fetch_add(1, std::memory_order_relaxed);
      if (index >= shared.count) return;
      work(index);
    }
  };
  on_threads(threads, run, &all);
}

}  // namespace ddetr::cpu
