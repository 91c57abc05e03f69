// What forward and backward share: a group of lanes works for one query and head, each lane on kWidth
// neighbouring channels with one 16-byte load (or on single channels where D does not allow that). Arrays start at 16 bytes.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../sampling.h"
#include "launch.h"

namespace ddetr {

constexpr int kThreads = 256;

struct Levels {
  const int64_t* shapes;
  const int64_t* starts;
};

__device__ __forceinline__ float widen(float number) { return number; }
__device__ __forceinline__ float widen(__half number) { return __half2float(number); }
__device__ __forceinline__ float widen(__nv_bfloat16 number) { return __bfloat162float(number); }
__device__ __forceinline__ void narrow(float from, float* to) { *to = from; }
__device__ __forceinline__ void narrow(float from, __half* to) { *to = __float2half_rn(from); }
__device__ __forceinline__ void narrow(float from, __nv_bfloat16* to) {
  *to = __float2bfloat16_rn(from);
}

template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth) Channels {
  T at[kWidth];
};

// Neighbouring groups have neighbouring queries of one head, so that a block's rows meet in L1.
struct Place {
  int64_t batch, head, query;

  __device__ Place(const Sizes& sizes, int64_t group)
      : batch(group / sizes.queries / sizes.heads),
        head(group / sizes.queries % sizes.heads),
        query(group % sizes.queries) {}
  __device__ int64_t query_row(const Sizes& sizes) const {
    return (batch * sizes.queries + query) * sizes.heads + head;
  }
};

// One point as its group needs it: element offsets of the corner rows (-1 outside).
struct Point {
  Placement<float> placement;
  int64_t offset[kCorners];
  int64_t height, width;
  float weight;
};

// A level that disagrees with value's size cannot lead outside of it.
__device__ __forceinline__ Point read_point(const Inputs& inputs, const Levels& levels,
                                            const Place& place_of_group, int64_t point) {
  const Sizes& sizes = inputs.sizes;
  const int64_t level = point / sizes.points;
  const int64_t index =
      place_of_group.query_row(sizes) * sizes.levels * sizes.points + point;
  Point found;
  found.height = levels.shapes[2 * level];
  found.width = levels.shapes[2 * level + 1];
  const float2 location = static_cast<const float2*>(inputs.locations)[index];
  found.weight = static_cast<const float*>(inputs.weights)[index];
  found.placement = place(location.x, location.y, found.height, found.width);
  for (int corner = 0; corner < kCorners; ++corner) {
    const int64_t pixel = levels.starts[level] + found.placement.row[corner];
    const bool inside =
        found.placement.row[corner] >= 0 && pixel >= 0 && pixel < sizes.pixels;
    const int64_t row =
        (place_of_group.batch * sizes.pixels + pixel) * sizes.heads + place_of_group.head;
    found.offset[corner] = inside ? row * sizes.channels : -1;
  }
  return found;
}

// Calls run(kernel's T, kWidth) for the call's dtype and channels.
template <template <typename, int> class Launch, typename... Arguments>
void dispatch(const Inputs& inputs, const Arguments&... arguments) {
  const bool whole = inputs.sizes.channels % 8 == 0;
  switch (inputs.dtype) {
    case DType::kFloat16:
      return whole ? Launch<__half, 8>::run(inputs, arguments...)
                   : Launch<__half, 1>::run(inputs, arguments...);
    case DType::kBFloat16:
      return whole ? Launch<__nv_bfloat16, 8>::run(inputs, arguments...)
                   : Launch<__nv_bfloat16, 1>::run(inputs, arguments...);
    default:
      return inputs.sizes.channels % 4 == 0 ? Launch<float, 4>::run(inputs, arguments...)
                                            : Launch<float, 1>::run(inputs, arguments...);
  }
}

inline int lanes_for(int64_t channels, int width) {
  int lanes = 1;
  while (lanes < 32 && lanes * width < channels) lanes *= 2;
  return lanes;
}

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

}  // namespace ddetr
