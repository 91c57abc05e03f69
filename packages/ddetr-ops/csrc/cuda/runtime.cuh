// What the kernels need of CUDA. tests/native/emulated_cuda.h gives the same to a C++ compiler, so
// that the kernels themselves run on a host.
#pragma once

#if defined(DDETR_EMULATED_CUDA)
#include "emulated_cuda.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstdio>

#include "failure.h"

// A pointer to the block's shared memory, whose size the launch says.
#define DDETR_SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

namespace ddetr {

constexpr size_t kSharedMemoryForAll = 48 * 1024;  // more than this a kernel has to ask for

// Runs on the call's device and gives the caller's back.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();

 private:
  int before_ = 0;
};

// Throws std::runtime_error naming the kernel if its launch failed.
void check_launch(const char* kernel);

// Bytes of shared memory that one block may have on the current device.
size_t shared_memory_limit();

// Starts kernel(arguments...) on the stream; throws if that fails, but does not wait.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
            size_t shared_bytes, void* stream, const Arguments&... arguments) {
  if (blocks > INT32_MAX) {
    char why[64];
    std::snprintf(why, sizeof(why), "too large, it takes %lld blocks", (long long)blocks);
    fail(name, why);
  }
  if (shared_bytes > kSharedMemoryForAll) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    check_launch(name);
  }
  kernel<<<unsigned(blocks), unsigned(threads), shared_bytes, static_cast<cudaStream_t>(stream)>>>(
      Parameters(arguments)...);
  check_launch(name);
}

}  // namespace ddetr
#endif
