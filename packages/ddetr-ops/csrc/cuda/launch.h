// The CUDA kernels. Pointers are on the device and so are the levels: nothing waits for the GPU.
#pragma once

#include "../msda.h"

namespace ddetr {

// Where a call runs, and its levels.
struct CudaCall {
  int device;
  void* stream;
  const int64_t* shapes;  // (L, 2), height then width
  const int64_t* starts;  // (L,)
  bool tiles = true;      // false: the kernels for any queries also where these are the pixels
};

// Both throw std::runtime_error if a launch fails.
void forward_cuda(const Inputs& inputs, const CudaCall& call, void* output);

// gradients.value is float32 whatever value is, and zeroed by the caller. Unless deterministic, sums
// in it are atomic and their order, so their last bits, vary.
void backward_cuda(const Inputs& inputs, const CudaCall& call, const Gradients& gradients,
                   bool deterministic);

// What CUDA itself says against these kernels on this machine; empty if they can run.
const char* cuda_problem();

// CUDA's versions as it writes them, 12090 for 12.9, and the oldest GPUs that the kernels are compiled
// for, 75 for compute capability 7.5.
struct CudaVersions {
  int runtime;  // of this build
  int driver;   // the newest that the driver knows; 0 without a driver
  int oldest_architecture;
};

CudaVersions cuda_versions();

}  // namespace ddetr
