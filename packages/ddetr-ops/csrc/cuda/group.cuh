// What all kernels use: a group of lanes works for one query and head, each lane on kWidth
// neighbouring channels with one 16-byte load, or on single channels where D does not allow that.
// Arrays start at 16 bytes.
#pragma once

#include "../sampling.h"
#include "launch.h"
#include "runtime.cuh"

namespace ddetr {

constexpr int kThreads = 256;
constexpr unsigned kWholeWarp = 0xffffffffu;

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

// Reads kWidth neighbours with one load.
template <typename T, int kWidth>
__device__ __forceinline__ void read_channels(const T* from, float (&to)[kWidth]) {
  const auto row = *reinterpret_cast<const Channels<T, kWidth>*>(from);
#pragma unroll
  for (int c = 0; c < kWidth; ++c) to[c] = widen(row.at[c]);
}

// Adds four neighbours; one request where the architecture has one for that.
__device__ __forceinline__ void add_four(float* to, float4 numbers) {
#if __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(to), numbers);
#else
  atomicAdd(to, numbers.x);
  atomicAdd(to + 1, numbers.y);
  atomicAdd(to + 2, numbers.z);
  atomicAdd(to + 3, numbers.w);
#endif
}

// One query of one head of one image.
struct QueryIndex {
  int64_t batch, head, query;

  __device__ int64_t query_row(const Sizes& sizes) const {
    return (batch * sizes.queries + query) * sizes.heads + head;
  }
};

// Neighbouring groups have neighbouring queries of one head, so that a block's rows meet in L1.
__device__ __forceinline__ QueryIndex query_of_group(const Sizes& sizes, int64_t group) {
  return {group / sizes.queries / sizes.heads, group / sizes.queries % sizes.heads,
          group % sizes.queries};
}

// One point as its group needs it: its corners' pixels among those of all levels (-1 outside).
struct Point {
  BilinearCorners<float> corners;
  int pixel[kCorners];
  int64_t height, width;
  float weight;

  __device__ bool inside() const {
    return pixel[0] >= 0 || pixel[1] >= 0 || pixel[2] >= 0 || pixel[3] >= 0;
  }
};

// A level that disagrees with value's size cannot lead outside of it.
__device__ __forceinline__ Point read_point(const Inputs& inputs, const Levels& levels,
                                            const QueryIndex& here, int point) {
  const Sizes& sizes = inputs.sizes;
  const int level = point / int(sizes.points);
  const int64_t index = here.query_row(sizes) * sizes.levels * sizes.points + point;
  Point found;
  found.height = levels.shapes[2 * level];
  found.width = levels.shapes[2 * level + 1];
  const float2 location = static_cast<const float2*>(inputs.locations)[index];
  found.weight = static_cast<const float*>(inputs.weights)[index];
  found.corners = find_corners(location.x, location.y, found.height, found.width);
#pragma unroll
  for (int corner = 0; corner < kCorners; ++corner) {
    const int64_t pixel = levels.starts[level] + found.corners.row[corner];
    const bool inside =
        found.corners.row[corner] >= 0 && pixel >= 0 && pixel < sizes.pixels;
    found.pixel[corner] = inside ? int(pixel) : -1;
  }
  return found;
}

// Where one image and head has its channels of pixel 0, and from there to the next pixel.
struct Rows {
  int64_t first, step;

  __device__ Rows(const Sizes& sizes, const QueryIndex& here)
      : first((here.batch * sizes.pixels * sizes.heads + here.head) * sizes.channels),
        step(sizes.heads * sizes.channels) {}
  __device__ int64_t at(int pixel) const { return first + pixel * step; }
};

// Calls run(kernel's T, kWidth) for the call's dtype and channels.
template <template <typename, int> class Launch, typename... Arguments>
void dispatch(const Inputs& inputs, const Arguments&... arguments) {
  const bool in_eights = inputs.sizes.channels % 8 == 0;
  switch (inputs.dtype) {
    case DType::kFloat16:
      return in_eights ? Launch<__half, 8>::run(inputs, arguments...)
                        : Launch<__half, 1>::run(inputs, arguments...);
    case DType::kBFloat16:
      return in_eights ? Launch<__nv_bfloat16, 8>::run(inputs, arguments...)
                        : Launch<__nv_bfloat16, 1>::run(inputs, arguments...);
    default:
      return inputs.sizes.channels % 4 == 0 ? Launch<float, 4>::run(inputs, arguments...)
                                            : Launch<float, 1>::run(inputs, arguments...);
  }
}

// A power of two from `least` to 32: enough for all channels, if there are that many.
inline int lanes_for(int64_t channels, int width, int least = 1) {
  int lanes = least;
  while (lanes < 32 && lanes * width < channels) lanes *= 2;
  return lanes;
}

}  // namespace ddetr
