#include "launch.h"
#include "runtime.cuh"

namespace ddetr {

DeviceGuard::DeviceGuard(int device) {
  cudaGetDevice(&before_);
  if (cudaSetDevice(device) != cudaSuccess) {
    throw std::runtime_error("CUDA device " + std::to_string(device) + ": " +
                             cudaGetErrorString(cudaGetLastError()));
  }
}

DeviceGuard::~DeviceGuard() { cudaSetDevice(before_); }

void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(error));
  }
}

size_t shared_memory_limit() {
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  check_launch("shared memory limit");
  return size_t(bytes);
}

const char* cuda_problem() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count > 0 ? "" : "no CUDA device";
}

}  // namespace ddetr
