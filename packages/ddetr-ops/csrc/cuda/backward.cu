#include "backward_tiles.cuh"

namespace ddetr {
namespace {

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

// One point by one group: scatters to its rows, and lane 0 writes the point's own gradients.
template <bool kAtomic, typename T, int kWidth>
__device__ __forceinline__ void backward_point(const Inputs& inputs, const Levels& levels,
                                               const Gradients& gradients, const QueryIndex& here,
                                               int index, int lane, int lanes, bool active) {
  const Sizes& sizes = inputs.sizes;
  const Point point = read_point(inputs, levels, here, index);
  const Rows rows(sizes, here);
  const T* value = static_cast<const T*>(inputs.value);
  const T* grad_output =
      static_cast<const T*>(gradients.output) + here.query_row(sizes) * sizes.channels;
  float dots[kCorners] = {};
  for (int64_t channel = lane * kWidth; active && channel < sizes.channels;
       channel += int64_t(lanes) * kWidth) {
    float grad[kWidth];
    read_channels(grad_output + channel, grad);
    for (int corner = 0; corner < kCorners; ++corner) {
      if (point.pixel[corner] < 0) continue;
      dots[corner] += dot_corner(value + channel, rows, point.pixel[corner], grad);
      add_row<kAtomic>(
          static_cast<float*>(gradients.value) + rows.at(point.pixel[corner]) + channel, grad,
          corner_weight(point.corners, corner) * point.weight);
    }
  }
  for (int corner = 0; corner < kCorners; ++corner) {
    for (int step = lanes / 2; step > 0; step /= 2) {
      dots[corner] += __shfl_xor_sync(kWholeWarp, dots[corner], step);
    }
  }
  if (!active || lane != 0) return;
  write_point(point, make_float4(dots[0], dots[1], dots[2], dots[3]),
              here.query_row(sizes) * sizes.levels * sizes.points + index, gradients);
}

// Group g of lanes -> (batch, head, query), all its points; lane -> kWidth channels.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Inputs inputs, Levels levels, Gradients gradients, int lanes,
                    int64_t groups) {
  const int lane = threadIdx.x % lanes;
  const int64_t group = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  const bool active = group < groups;
  const QueryIndex here = query_of_group(inputs.sizes, active ? group : groups - 1);
  for (int index = 0; index < int(inputs.sizes.levels * inputs.sizes.points); ++index) {
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
  QueryIndex here = {head_index / sizes.heads, head_index % sizes.heads, 0};
  for (; here.query < sizes.queries; ++here.query) {
    for (int p = 0; p < int(sizes.points); ++p) {
      backward_point<false, T, kWidth>(inputs, levels, gradients, here,
                                       int(level * sizes.points) + p, int(threadIdx.x), 32, true);
    }
  }
}

template <typename T, int kWidth>
struct LaunchBackward {
  static void run(const Inputs& inputs, const CudaCall& call, const Gradients& gradients,
                  bool deterministic) {
    const Sizes& sizes = inputs.sizes;
    const Levels levels = {call.shapes, call.starts};
    if (deterministic) {
      launch("ms_deform_attn deterministic backward", deterministic_kernel<T, kWidth>,
             sizes.batch * sizes.heads * sizes.levels, 32, 0, call.stream, inputs, levels,
             gradients);
    } else if (call.tiles && can_scatter(sizes)) {
      launch_backward_tiles<T, kWidth>(inputs, call, levels, gradients);
    } else {
      const int lanes = lanes_for(sizes.channels, kWidth);
      const int64_t groups = sizes.batch * sizes.heads * sizes.queries;
      launch("ms_deform_attn backward", backward_kernel<T, kWidth>,
             (groups * lanes + kThreads - 1) / kThreads, kThreads, 0, call.stream, inputs, levels,
             gradients, lanes, groups);
    }
  }
};

}  // namespace

void backward_cuda(const Inputs& inputs, const CudaCall& call, const Gradients& gradients,
                   bool deterministic) {
  const DeviceGuard guard(call.device);
  dispatch<LaunchBackward>(inputs, call, gradients, deterministic);
}

}  // namespace ddetr
