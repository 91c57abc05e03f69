#include <stdexcept>
#include <string>

#include "group.cuh"

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

const char* cuda_problem() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  return count > 0 ? "" : "no CUDA device";
}

}  // namespace ddetr
