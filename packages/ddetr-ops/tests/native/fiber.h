// A function that can pause: one thread of an emulated block, known to the sanitizers.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <memory>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// Not seen by ThreadSanitizer, and therefore not to be inlined into what is.
#if defined(__SANITIZE_THREAD__)
#define DDETR_UNOBSERVED __attribute__((no_sanitize_thread, noinline))
#else
#define DDETR_UNOBSERVED
#endif

namespace emulated {

class Fiber {
 public:
  Fiber() : stack_(new char[kStackBytes]) {
#if defined(__SANITIZE_THREAD__)
    own_ = __tsan_create_fiber(0);
#endif
  }

  // Begins anew with `body` at the next resume().
  void restart(void (*body)()) {
    body_ = body;
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    makecontext(&context_, reinterpret_cast<void (*)()>(&Fiber::enter), 0);
  }

  DDETR_UNOBSERVED void resume() {
    running_ = this;
#if defined(__SANITIZE_THREAD__)
    caller_own_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(own_, kNoOrder);
#endif
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_.get(), kStackBytes);
#endif
    swapcontext(&caller_, &context_);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  DDETR_UNOBSERVED void pause() { leave(false); }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;
  static constexpr unsigned kNoOrder = 1;  // a switch says nothing about what happens before what
  static inline Fiber* running_ = nullptr;

  DDETR_UNOBSERVED static void enter() {
    Fiber& fiber = *running_;
    fiber.arrived();
    fiber.body_();
    fiber.leave(true);
  }

  DDETR_UNOBSERVED void arrived() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_, &caller_stack_, &caller_stack_bytes_);
#endif
  }

  DDETR_UNOBSERVED void leave(bool for_good) {
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(caller_own_, kNoOrder);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_, caller_stack_,
                                   caller_stack_bytes_);
#endif
    if (for_good) {
#if defined(__SANITIZE_ADDRESS__)
      fake_ = nullptr;
#endif
      setcontext(&caller_);
    } else {
      swapcontext(&context_, &caller_);
    }
    arrived();
  }

  std::unique_ptr<char[]> stack_;
  void (*body_)() = nullptr;
  ucontext_t context_, caller_;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_stack_bytes_ = 0;
#endif
#if defined(__SANITIZE_THREAD__)
  void* own_ = nullptr;
  void* caller_own_ = nullptr;
#endif
};

// What one thread did before it came to a barrier happens before what the others do after it.
inline void happens_before([[maybe_unused]] void* barrier) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(barrier);
#endif
}

inline void happens_after([[maybe_unused]] void* barrier) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(barrier);
#endif
}

}  // namespace emulated
