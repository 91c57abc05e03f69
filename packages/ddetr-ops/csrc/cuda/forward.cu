#include "tiles.cuh"

namespace ddetr {
namespace {

constexpr int kForwardTileThreads = 512;

// Corners that a group has found for all its lanes. Each group has one slot more than lanes: so the
// groups of a warp read from different banks.
struct Staged {
  float4* weights;  // bilinear weight * attention weight of the corners
  int4* pixels;

  __device__ Staged(unsigned char* memory, int lanes, int lane)
      : weights(reinterpret_cast<float4*>(memory)),
        pixels(reinterpret_cast<int4*>(weights + blockDim.x + blockDim.x / lanes)) {
    const int first = threadIdx.x - lane + threadIdx.x / lanes;
    weights += first;
    pixels += first;
  }
};

size_t staged_bytes(int threads, int lanes) {
  return (threads + threads / lanes) * (sizeof(float4) + sizeof(int4));
}

__device__ __forceinline__ void stage_point(const Point& point, const Staged& staged, int lane) {
  float weight[kCorners];
#pragma unroll
  for (int corner = 0; corner < kCorners; ++corner) {
    const bool inside = point.pixel[corner] >= 0;
    weight[corner] = inside ? corner_weight(point.corners, corner) * point.weight : 0.0f;
  }
  staged.weights[lane] = make_float4(weight[0], weight[1], weight[2], weight[3]);
  staged.pixels[lane] =
      make_int4(point.pixel[0], point.pixel[1], point.pixel[2], point.pixel[3]);
}

template <typename T, int kWidth>
__device__ __forceinline__ void add_corner(const T* value, const Rows& rows, int pixel,
                                           float weight, float (&sums)[kWidth]) {
  float row[kWidth] = {};
  if (pixel >= 0) read_channels(value + rows.at(pixel), row);
#pragma unroll
  for (int c = 0; c < kWidth; ++c) sums[c] += weight * row[c];
}

// One query and head by a group. Each lane finds the corners of every lanes-th point once; all
// lanes read them from shared memory. Lanes without a query work along, for they must meet the
// barriers.
template <typename T, int kWidth>
__device__ void forward_query(const Inputs& inputs, const Levels& levels, const QueryIndex& here,
                              int lane, int lanes, bool active, const Staged& staged, T* output) {
  const Sizes& sizes = inputs.sizes;
  const int points = int(sizes.levels * sizes.points);
  const Rows rows(sizes, here);
  for (int64_t block = 0; block < sizes.channels; block += int64_t(lanes) * kWidth) {
    const int64_t channel = block + lane * kWidth;
    const bool has_channels = channel < sizes.channels;
    const T* value = static_cast<const T*>(inputs.value) + channel;
    float sums[kWidth] = {};
    for (int begin = 0; begin < points; begin += lanes) {
      __syncwarp();
      if (begin + lane < points) {
        stage_point(read_point(inputs, levels, here, begin + lane), staged, lane);
      }
      __syncwarp();
      const int count = points - begin < lanes ? points - begin : lanes;
#pragma unroll 2
      for (int k = 0; k < count; ++k) {
        const float4 weights = staged.weights[k];
        const int4 pixels = staged.pixels[k];
        if (!has_channels) continue;
        add_corner(value, rows, pixels.x, weights.x, sums);
        add_corner(value, rows, pixels.y, weights.y, sums);
        add_corner(value, rows, pixels.z, weights.z, sums);
        add_corner(value, rows, pixels.w, weights.w, sums);
      }
    }
    if (!active || !has_channels) continue;
    Channels<T, kWidth> row;
    for (int c = 0; c < kWidth; ++c) narrow(sums[c], &row.at[c]);
    *reinterpret_cast<Channels<T, kWidth>*>(
        output + here.query_row(sizes) * sizes.channels + channel) = row;
  }
}

// Group g of lanes -> (batch, head, query); lane -> kWidth channels, then the next lanes * kWidth.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(Inputs inputs, Levels levels, int lanes, int64_t groups, T* output) {
  DDETR_SHARED_MEMORY(memory);
  const int lane = threadIdx.x % lanes;
  const int64_t group = (int64_t(blockIdx.x) * kThreads + threadIdx.x) / lanes;
  const bool active = group < groups;
  const QueryIndex here = query_of_group(inputs.sizes, active ? group : groups - 1);
  forward_query<T, kWidth>(inputs, levels, here, lane, lanes, active, Staged(memory, lanes, lane),
                           output);
}

// Block -> (batch, head), tiles slot, slot + slots, ... of it; group of lanes -> every groups-th query
// of the tile; lane -> kWidth channels.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kForwardTileThreads)
    forward_tiles_kernel(Inputs inputs, Levels levels, int lanes, int64_t slots, T* output) {
  DDETR_SHARED_MEMORY(memory);
  const Sizes& sizes = inputs.sizes;
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const int groups = kForwardTileThreads / lanes;
  const Staged staged(memory, lanes, lane);
  const int64_t head_index = blockIdx.x / slots;
  QueryIndex here = {head_index / sizes.heads, head_index % sizes.heads, 0};
  const Tiling tiling(sizes, levels);
  for (int64_t index = blockIdx.x % slots; index < tiling.count; index += slots) {
    const Tile tile = tiling.tile(sizes, levels, index);
    for (int first = 0; first < tile.size(); first += groups) {
      const bool active = first + group < tile.size();
      here.query = tile.query(active ? first + group : tile.size() - 1);
      forward_query<T, kWidth>(inputs, levels, here, lane, lanes, active, staged, output);
    }
  }
}

template <typename T, int kWidth>
struct LaunchForward {
  static void run(const Inputs& inputs, const CudaCall& call, void* output) {
    const Sizes& sizes = inputs.sizes;
    const int lanes = lanes_for(sizes.channels, kWidth);
    const Levels levels = {call.shapes, call.starts};
    T* to = static_cast<T*>(output);
    if (call.tiles && can_tile(sizes, lanes, kWidth)) {
      const int64_t slots = tile_slots(sizes);
      launch("ms_deform_attn forward in tiles", forward_tiles_kernel<T, kWidth>,
             sizes.batch * sizes.heads * slots, kForwardTileThreads,
             staged_bytes(kForwardTileThreads, lanes), call.stream, inputs, levels, lanes, slots,
             to);
    } else {
      const int64_t groups = sizes.batch * sizes.heads * sizes.queries;
      launch("ms_deform_attn forward", forward_kernel<T, kWidth>,
             (groups * lanes + kThreads - 1) / kThreads, kThreads, staged_bytes(kThreads, lanes),
             call.stream, inputs, levels, lanes, groups, to);
    }
  }
};

}  // namespace

void forward_cuda(const Inputs& inputs, const CudaCall& call, void* output) {
  const DeviceGuard guard(call.device);
  dispatch<LaunchForward>(inputs, call, output);
}

}  // namespace ddetr
