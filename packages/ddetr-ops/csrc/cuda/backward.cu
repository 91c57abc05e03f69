#include "group.cuh"

namespace ddetr {
namespace {

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

template <bool kAtomic, int kWidth>
__device__ __forceinline__ void add_row(float* to, const float (&numbers)[kWidth], float weight) {
  if constexpr (!kAtomic) {
    for (int c = 0; c < kWidth; ++c) to[c] += weight * numbers[c];
  } else if constexpr (kWidth % 4 == 0) {
    for (int c = 0; c < kWidth; c += 4) {
      add_four(to + c, make_float4(weight * numbers[c], weight * numbers[c + 1],
                                   weight * numbers[c + 2], weight * numbers[c + 3]));
    }
  } else {
    for (int c = 0; c < kWidth; ++c) atomicAdd(to + c, weight * numbers[c]);
  }
}

// One point by one group: scatters to its rows, and lane 0 writes the point's own gradients. Those
// are linear in the dot products, so each lane finds its channels' part and a butterfly adds them.
template <bool kAtomic, typename T, int kWidth>
__device__ __forceinline__ void backward_point(const Inputs& inputs, const Levels& levels,
                                               const Gradients& gradients, const Place& here,
                                               int64_t index, int lane, int lanes, bool active) {
  const Sizes& sizes = inputs.sizes;
  const Point point = read_point(inputs, levels, here, index);
  const T* value = static_cast<const T*>(inputs.value);
  const T* grad_output =
      static_cast<const T*>(gradients.output) + here.query_row(sizes) * sizes.channels;
  float dots[kCorners] = {};
  for (int64_t channel = lane * kWidth; active && channel < sizes.channels;
       channel += int64_t(lanes) * kWidth) {
    const auto arriving = *reinterpret_cast<const Channels<T, kWidth>*>(grad_output + channel);
    float grad[kWidth];
    for (int c = 0; c < kWidth; ++c) grad[c] = widen(arriving.at[c]);
    for (int corner = 0; corner < kCorners; ++corner) {
      if (point.offset[corner] < 0) continue;
      const int64_t at = point.offset[corner] + channel;
      const auto row = *reinterpret_cast<const Channels<T, kWidth>*>(value + at);
      for (int c = 0; c < kWidth; ++c) dots[corner] += grad[c] * widen(row.at[c]);
      add_row<kAtomic>(static_cast<float*>(gradients.value) + at, grad,
                       share(point.placement, corner) * point.weight);
    }
  }
  PointGradients<float> found =
      point_gradients(point.placement, dots, point.weight, point.height, point.width);
  for (int step = lanes / 2; step > 0; step /= 2) {
    found.weight += __shfl_xor_sync(0xffffffffu, found.weight, step);
    found.location_x += __shfl_xor_sync(0xffffffffu, found.location_x, step);
    found.location_y += __shfl_xor_sync(0xffffffffu, found.location_y, step);
  }
  if (!active || lane != 0) return;
  // A point outside has no gradient, whatever its weight: NaN must not leak.
  bool inside = false;
  for (int corner = 0; corner < kCorners; ++corner) inside |= point.offset[corner] >= 0;
  const int64_t to = here.query_row(sizes) * sizes.levels * sizes.points + index;
  static_cast<float*>(gradients.weights)[to] = inside ? found.weight : 0.0f;
  static_cast<float2*>(gradients.locations)[to] =
      inside ? make_float2(found.location_x, found.location_y) : make_float2(0.0f, 0.0f);
}

// Group g of lanes -> (batch, head, query), all its points; lane -> kWidth channels.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Inputs inputs, Levels levels, Gradients gradients, int lanes,
                    int64_t groups) {
  const int lane = threadIdx.x % lanes;
  const int64_t group = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  const bool active = group < groups;
  const Place here(inputs.sizes, active ? group : groups - 1);
  for (int64_t index = 0; index < inputs.sizes.levels * inputs.sizes.points; ++index) {
    backward_point<true, T, kWidth>(inputs, levels, gradients, here, index, lane, lanes, active);
  }
}

// Block of one warp -> (batch, head, level), which owns that part of grad_value and goes through the
// queries in order: slow, and the same bits every time. Lane -> kWidth channels.
template <typename T, int kWidth>
__global__ void __launch_bounds__(32)
    deterministic_kernel(Inputs inputs, Levels levels, Gradients gradients) {
  const Sizes& sizes = inputs.sizes;
  const int64_t level = blockIdx.x % sizes.levels, head_index = blockIdx.x / sizes.levels;
  for (int64_t query = 0; query < sizes.queries; ++query) {
    const Place here(sizes, head_index * sizes.queries + query);
    for (int64_t p = 0; p < sizes.points; ++p) {
      backward_point<false, T, kWidth>(inputs, levels, gradients, here, level * sizes.points + p,
                                       int(threadIdx.x), 32, true);
    }
  }
}

template <typename T, int kWidth>
struct LaunchBackward {
  static void run(const Inputs& inputs, const CudaCall& call, const Gradients& gradients,
                  bool deterministic) {
    const Sizes& sizes = inputs.sizes;
    const auto stream = static_cast<cudaStream_t>(call.stream);
    const Levels levels = {call.shapes, call.starts};
    if (deterministic) {
      const unsigned blocks = unsigned(sizes.batch * sizes.heads * sizes.levels);
      deterministic_kernel<T, kWidth><<<blocks, 32, 0, stream>>>(inputs, levels, gradients);
    } else {
      const int lanes = lanes_for(sizes.channels, kWidth);
      const int64_t groups = sizes.batch * sizes.heads * sizes.queries;
      const unsigned blocks = unsigned((groups * lanes + kThreads - 1) / kThreads);
      backward_kernel<T, kWidth>
          <<<blocks, kThreads, 0, stream>>>(inputs, levels, gradients, lanes, groups);
    }
    check_launch("ms_deform_attn backward");
  }
};

}  // namespace

void backward_cuda(const Inputs& inputs, const CudaCall& call, const Gradients& gradients,
                   bool deterministic) {
  const DeviceGuard guard(call.device);
  dispatch<LaunchBackward>(inputs, call, gradients, deterministic);
}

}  // namespace ddetr
