// Enough of CUDA to run the kernels on a host. The threads of a block are fibers that take turns at
// barriers, so divergent barriers are found here, and the sanitizers find the rest: accesses outside
// of shared or global memory, misaligned vector loads, and (ThreadSanitizer knows the fibers) races.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"

#define __global__ static
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define DDETR_SHARED_MEMORY(name) unsigned char* name = emulated::shared_memory()
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 900
#endif

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

struct __half {
  _Float16 number;
};
struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __half2float(__half from) { return float(from.number); }
inline __half __float2half_rn(float from) { return {_Float16(from)}; }
inline float __bfloat162float(__nv_bfloat16 from) {
  const uint32_t bits = uint32_t(from.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof(number));
  return number;
}
inline __nv_bfloat16 __float2bfloat16_rn(float from) {
  uint32_t bits;
  std::memcpy(&bits, &from, sizeof(bits));
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff};  // NaN
  return {uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

namespace emulated {

constexpr int kWarp = 32;

enum class At { kRunning, kWarpBarrier, kShuffle, kShuffled, kBlockBarrier, kEnd };

struct Index {
  unsigned x;
};

struct Thread {
  std::unique_ptr<Fiber> fiber;
  At at = At::kRunning;
  float exchanged = 0;
  unsigned warp_waits = 0, block_waits = 0;
};

// The block that runs now; blocks follow one another. What the emulation keeps for itself is no
// business of the race detector.
struct Block {
  std::vector<Thread> threads;
  std::function<void()> kernel;
  unsigned char* shared = nullptr;
  unsigned thread = 0, index = 0;
  std::vector<char> barriers;  // their addresses stand for two in turn of each warp and the block
};

struct Settings {
  size_t shared_memory_limit = 227 * 1024;
  bool descending = false;  // the order in which threads and blocks run
};

inline Block& block() {
  static Block now;
  return now;
}

DDETR_UNOBSERVED inline unsigned thread_index() { return block().thread; }
DDETR_UNOBSERVED inline unsigned block_index() { return block().index; }
DDETR_UNOBSERVED inline unsigned block_size() { return unsigned(block().threads.size()); }
DDETR_UNOBSERVED inline unsigned char* shared_memory() { return block().shared; }

inline Settings& settings() {
  static Settings now;
  return now;
}

[[noreturn]] inline void fail(const char* fault) {
  std::printf("%s: block %u thread %u\n", fault, block().index, block().thread);
  std::exit(2);
}

// Gives the turn away until all others of the warp or block have come to the same point.
DDETR_UNOBSERVED inline void wait(At at) {
  Block& now = block();
  const unsigned own = now.thread;
  // A thread that runs later must not see what others did after this barrier as done before it.
  Thread& thread = now.threads[own];
  const bool whole_block = at == At::kBlockBarrier;
  const size_t turn = (whole_block ? thread.block_waits++ : thread.warp_waits++) % 2;
  char* barrier = &now.barriers[whole_block ? turn : 2 + 2 * size_t(own / kWarp) + turn];
  happens_before(barrier);
  thread.at = at;
  thread.fiber->pause();
  happens_after(barrier);
}

DDETR_UNOBSERVED inline bool all_at(const Thread* threads, size_t count, At at) {
  for (size_t k = 0; k < count; ++k) {
    if (threads[k].at != at) return false;
  }
  return true;
}

// Lets a warp, or the block, go on whose threads are all at the same barrier.
DDETR_UNOBSERVED inline bool release(Thread* threads, size_t count, bool whole_block) {
  const At at = threads[0].at;
  const bool barrier = at != At::kRunning && at != At::kEnd;
  if (!barrier || (at == At::kBlockBarrier) != whole_block) return false;
  if (!all_at(threads, count, at)) return false;
  for (size_t k = 0; k < count; ++k) threads[k].at = At::kRunning;
  return true;
}

DDETR_UNOBSERVED inline bool run_threads(Block& now) {
  bool ran = false;
  const size_t count = now.threads.size();
  for (size_t k = 0; k < count; ++k) {
    now.thread = unsigned(settings().descending ? count - 1 - k : k);
    Thread& thread = now.threads[now.thread];
    if (thread.at != At::kRunning) continue;
    ran = true;
    thread.fiber->resume();
  }
  return ran;
}

DDETR_UNOBSERVED inline void run_kernel() {
  Block& now = block();
  happens_after(&now.kernel);
  now.kernel();
  now.threads[now.thread].at = At::kEnd;
  happens_before(&now);
}

inline void run_block(unsigned index) {
  Block& now = block();
  now.index = index;
  for (Thread& thread : now.threads) {
    thread.at = At::kRunning;
    thread.fiber->restart(run_kernel);
  }
  happens_before(&now.kernel);
  Thread* threads = now.threads.data();
  const size_t count = now.threads.size();
  while (!all_at(threads, count, At::kEnd)) {
    bool moved = run_threads(now);
    for (size_t warp = 0; warp < count; warp += kWarp) {
      moved |= release(threads + warp, kWarp, false);
    }
    moved |= release(threads, count, true);
    if (!moved) fail("a barrier that not every thread reaches");
  }
  happens_after(&now);
}

}  // namespace emulated

#define threadIdx (emulated::Index{emulated::thread_index()})
#define blockIdx (emulated::Index{emulated::block_index()})
#define blockDim (emulated::Index{emulated::block_size()})

inline void __syncwarp() { emulated::wait(emulated::At::kWarpBarrier); }
inline void __syncthreads() { emulated::wait(emulated::At::kBlockBarrier); }

DDETR_UNOBSERVED inline float __shfl_xor_sync(unsigned mask, float number, int step) {
  if (mask != 0xffffffffu) emulated::fail("a shuffle of less than a warp");
  emulated::Thread* threads = emulated::block().threads.data();
  const unsigned own = emulated::thread_index();
  threads[own].exchanged = number;
  emulated::wait(emulated::At::kShuffle);
  number = threads[own ^ unsigned(step)].exchanged;
  emulated::wait(emulated::At::kShuffled);
  return number;
}

inline void atomicAdd(float* to, float number) {
  uint32_t* bits = reinterpret_cast<uint32_t*>(to);
  uint32_t before = __atomic_load_n(bits, __ATOMIC_RELAXED), after;
  do {
    float sum;
    std::memcpy(&sum, &before, sizeof(sum));
    sum += number;
    std::memcpy(&after, &sum, sizeof(after));
  } while (!__atomic_compare_exchange_n(bits, &before, after, false, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED));
}

inline void atomicAdd(float4* to, float4 numbers) {
  if (reinterpret_cast<uintptr_t>(to) % sizeof(float4)) emulated::fail("a misaligned vector sum");
  const float four[] = {numbers.x, numbers.y, numbers.z, numbers.w};
  for (int k = 0; k < 4; ++k) atomicAdd(reinterpret_cast<float*>(to) + k, four[k]);
}

namespace ddetr {

struct DeviceGuard {
  explicit DeviceGuard(int) {}
};

inline size_t shared_memory_limit() { return emulated::settings().shared_memory_limit; }

template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
            size_t shared_bytes, void*, const Arguments&... arguments) {
  if (blocks < 1 || blocks > INT32_MAX) throw std::runtime_error(std::string(name) + ": blocks");
  if (threads < 1 || threads > 1024 || threads % emulated::kWarp) emulated::fail("block size");
  if (shared_bytes > shared_memory_limit()) emulated::fail("more shared memory than there is");
  emulated::Block& now = emulated::block();
  now.threads.resize(size_t(threads));
  for (emulated::Thread& thread : now.threads) {
    if (!thread.fiber) thread.fiber = std::make_unique<emulated::Fiber>();
  }
  now.barriers.assign(2 + 2 * size_t(threads / emulated::kWarp), 0);
  now.kernel = [&] { kernel(Parameters(arguments)...); };
  for (int64_t k = 0; k < blocks; ++k) {
    // As large as was asked for, not a byte more, and full of NaN.
    now.shared = static_cast<unsigned char*>(std::malloc(std::max<size_t>(shared_bytes, 1)));
    std::memset(now.shared, 0xff, shared_bytes);
    emulated::run_block(unsigned(emulated::settings().descending ? blocks - 1 - k : k));
    std::free(now.shared);
  }
}

}  // namespace ddetr
