#include "group.cuh"

namespace ddetr {
namespace {

// What a lane needs of a point that another lane has placed.
struct alignas(16) Staged {
  float weight[kCorners];
  int64_t offset[kCorners];
};

// Group g of lanes -> (batch, head, query); lane -> kWidth channels, then the next lanes * kWidth.
// Each lane places every lanes-th point once; all lanes read the places from shared memory.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Inputs inputs, Levels levels, int lanes, int64_t groups, T* output) {
  __shared__ Staged staged[kThreads];
  const Sizes& sizes = inputs.sizes;
  const int lane = threadIdx.x % lanes, first = threadIdx.x - lane;
  const int64_t group = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  // Lanes without a query work along on the last one, for they must meet the barriers.
  const Place here(sizes, group < groups ? group : groups - 1);
  const int64_t points = sizes.levels * sizes.points;
  const T* value = static_cast<const T*>(inputs.value);
  for (int64_t block = 0; block < sizes.channels; block += int64_t(lanes) * kWidth) {
    const int64_t channel = block + lane * kWidth;
    float sums[kWidth] = {};
    for (int64_t begin = 0; begin < points; begin += lanes) {
      __syncwarp();
      if (begin + lane < points) {
        const Point point = read_point(inputs, levels, here, begin + lane);
        for (int corner = 0; corner < kCorners; ++corner) {
          const bool inside = point.offset[corner] >= 0;
          staged[threadIdx.x].offset[corner] = point.offset[corner];
          staged[threadIdx.x].weight[corner] =
              inside ? share(point.placement, corner) * point.weight : 0.0f;
        }
      }
      __syncwarp();
      const int count = int(points - begin < lanes ? points - begin : lanes);
      for (int k = 0; k < count && channel < sizes.channels; ++k) {
        const Staged& point = staged[first + k];
        for (int corner = 0; corner < kCorners; ++corner) {
          if (point.offset[corner] < 0) continue;
          const auto row = *reinterpret_cast<const Channels<T, kWidth>*>(
              value + point.offset[corner] + channel);
          for (int c = 0; c < kWidth; ++c) sums[c] += point.weight[corner] * widen(row.at[c]);
        }
      }
    }
    if (group < groups && channel < sizes.channels) {
      Channels<T, kWidth> row;
      for (int c = 0; c < kWidth; ++c) narrow(sums[c], &row.at[c]);
      *reinterpret_cast<Channels<T, kWidth>*>(
          output + here.query_row(sizes) * sizes.channels + channel) = row;
    }
  }
}

template <typename T, int kWidth>
struct LaunchForward {
  static void run(const Inputs& inputs, const CudaCall& call, void* output) {
    const Sizes& sizes = inputs.sizes;
    const int lanes = lanes_for(sizes.channels, kWidth);
    const int64_t groups = sizes.batch * sizes.heads * sizes.queries;
    const unsigned blocks = unsigned((groups * lanes + kThreads - 1) / kThreads);
    forward_kernel<T, kWidth><<<blocks, kThreads, 0, static_cast<cudaStream_t>(call.stream)>>>(
        inputs, Levels{call.shapes, call.starts}, lanes, groups, static_cast<T*>(output));
    check_launch("ms_deform_attn forward");
  }
};

}  // namespace

void forward_cuda(const Inputs& inputs, const CudaCall& call, void* output) {
  const DeviceGuard guard(call.device);
  dispatch<LaunchForward>(inputs, call, output);
}

}  // namespace ddetr
