#include "launch.h"
#include "runtime.cuh"

namespace ddetr {

DeviceGuard::DeviceGuard(int device) {
  cudaGetDevice(&before_);
  if (cudaSetDevice(device) != cudaSuccess) {
    char name[32];
    std::snprintf(name, sizeof(name), "CUDA device %d", device);
    fail(name, cudaGetErrorString(cudaGetLastError()));
  }
}

DeviceGuard::~DeviceGuard() { cudaSetDevice(before_); }

void check_launch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) fail(kernel, cudaGetErrorString(error));
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

CudaVersions cuda_versions() {
  constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};
  CudaVersions found = {CUDART_VERSION, 0, kArchitectures[0] / 10};
  cudaDriverGetVersion(&found.driver);
  (void)cudaGetLastError();  // without a driver it is an error, which the next launch would report
  return found;
}

}  // namespace ddetr
