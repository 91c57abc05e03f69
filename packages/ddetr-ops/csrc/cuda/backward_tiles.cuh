// The backward pass of a tile in two kernels: one gathers rows of value for the gradients of
// locations and weights, one scatters into the gradient of value.
#pragma once

#include "windows.cuh"

namespace ddetr {

constexpr int kGatherThreads = 512;
constexpr int kMaxWindowLevels = 8;

// Sums each of four numbers over the group of at least four lanes; lane j gets the sum of number
// j % 4. A lane hands on what its neighbour keeps: 3 exchanges for four lanes, not 8.
__device__ __forceinline__ float sum_four(const float (&numbers)[kCorners], int lane, int lanes) {
  const bool odd = lane & 1, high = lane & 2;
  float low_pair = odd ? numbers[1] : numbers[0], high_pair = odd ? numbers[3] : numbers[2];
  low_pair += __shfl_xor_sync(kWholeWarp, odd ? numbers[0] : numbers[1], 1);
  high_pair += __shfl_xor_sync(kWholeWarp, odd ? numbers[2] : numbers[3], 1);
  float sum = high ? high_pair : low_pair;
  sum += __shfl_xor_sync(kWholeWarp, high ? low_pair : high_pair, 2);
  for (int step = 4; step < lanes; step *= 2) sum += __shfl_xor_sync(kWholeWarp, sum, step);
  return sum;
}

// Corner pixels that a group has found for all its lanes, and their dot products with grad_output.
struct Gathered {
  int4* pixels;
  float4* dots;

  __device__ Gathered(unsigned char* memory, int lanes, int lane)
      : pixels(reinterpret_cast<int4*>(memory)),
        dots(reinterpret_cast<float4*>(pixels + blockDim.x + blockDim.x / lanes)) {
    const int first = threadIdx.x - lane + threadIdx.x / lanes;
    pixels += first;
    dots += first;
  }
};

inline size_t gathered_bytes(int lanes) {
  return (kGatherThreads + kGatherThreads / lanes) * (sizeof(int4) + sizeof(float4));
}

template <typename T, int kWidth>
__device__ __forceinline__ float dot_corner(const T* value, const Rows& rows, int pixel,
                                            const float (&grad)[kWidth]) {
  if (pixel < 0) return 0.0f;
  float row[kWidth], sum = 0.0f;
  read_channels(value + rows.at(pixel), row);
#pragma unroll
  for (int c = 0; c < kWidth; ++c) sum += grad[c] * row[c];
  return sum;
}

__device__ __forceinline__ void write_point(const Point& point, float4 dots, int64_t to,
                                            const Gradients& gradients) {
  const float numbers[kCorners] = {dots.x, dots.y, dots.z, dots.w};
  const PointGradients<float> found =
      point_gradients(point.corners, numbers, point.weight, point.height, point.width);
  // A point outside has no gradient, whatever its weight: NaN must not leak.
  const bool inside = point.inside();
  static_cast<float*>(gradients.weights)[to] = inside ? found.weight : 0.0f;
  static_cast<float2*>(gradients.locations)[to] =
      inside ? make_float2(found.location_x, found.location_y) : make_float2(0.0f, 0.0f);
}

// One query and head by a group: lane j reads points j, j + lanes, ..., all lanes find the dot
// products <grad_output, corner> together, lane j writes the gradients of its points.
template <typename T, int kWidth>
__device__ void gather_query(const Inputs& inputs, const Levels& levels, const QueryIndex& here,
                             int lane, int lanes, bool active, const Gathered& gathered,
                             const Gradients& gradients) {
  const Sizes& sizes = inputs.sizes;
  const int points = int(sizes.levels * sizes.points);
  const Rows rows(sizes, here);
  const bool has_channels = lane * kWidth < sizes.channels;
  const T* value = static_cast<const T*>(inputs.value) + lane * kWidth;
  float grad[kWidth] = {};
  if (has_channels) {
    read_channels(static_cast<const T*>(gradients.output) +
                      here.query_row(sizes) * sizes.channels + lane * kWidth,
                  grad);
  }
  for (int begin = 0; begin < points; begin += lanes) {
    const bool has_point = begin + lane < points;
    Point point;
    __syncwarp();
    if (has_point) {
      point = read_point(inputs, levels, here, begin + lane);
      gathered.pixels[lane] =
          make_int4(point.pixel[0], point.pixel[1], point.pixel[2], point.pixel[3]);
    }
    __syncwarp();
    const int count = points - begin < lanes ? points - begin : lanes;
    for (int k = 0; k < count; ++k) {
      const int4 pixels = gathered.pixels[k];
      float dots[kCorners] = {};
      if (has_channels) {
        dots[0] = dot_corner(value, rows, pixels.x, grad);
        dots[1] = dot_corner(value, rows, pixels.y, grad);
        dots[2] = dot_corner(value, rows, pixels.z, grad);
        dots[3] = dot_corner(value, rows, pixels.w, grad);
      }
      const float sum = sum_four(dots, lane, lanes);
      if (lane < kCorners) reinterpret_cast<float*>(gathered.dots + k)[lane] = sum;
    }
    __syncwarp();
    if (has_point && active) {
      write_point(point, gathered.dots[lane], here.query_row(sizes) * points + begin + lane,
                  gradients);
    }
  }
}

// Block -> (batch, head), tiles slot, slot + slots, ... of it; group of lanes -> every groups-th query
// of the tile; lane -> kWidth channels.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kGatherThreads)
    gather_kernel(Inputs inputs, Levels levels, Gradients gradients, int lanes, int64_t slots) {
  DDETR_SHARED_MEMORY(memory);
  const Sizes& sizes = inputs.sizes;
  const int lane = threadIdx.x % lanes, group = threadIdx.x / lanes;
  const int groups = kGatherThreads / lanes;
  const Gathered gathered(memory, lanes, lane);
  const int64_t head_index = blockIdx.x / slots;
  QueryIndex here = {head_index / sizes.heads, head_index % sizes.heads, 0};
  const Tiling tiling(sizes, levels);
  for (int64_t index = blockIdx.x % slots; index < tiling.count; index += slots) {
    const Tile tile = tiling.tile(sizes, levels, index);
    for (int first = 0; first < tile.size(); first += groups) {
      const bool active = first + group < tile.size();
      here.query = tile.query(active ? first + group : tile.size() - 1);
      gather_query<T, kWidth>(inputs, levels, here, lane, lanes, active, gathered, gradients);
    }
  }
}

// Where one pixel of a point adds to: an index in the block's memory; -1 nowhere; -2 - pixel for
// grad_value itself.
struct alignas(8) Aim {
  int to;
  float weight;
};

// A point's four pixels by the parity of line and column: of the four there is one of each.
struct alignas(16) Target {
  Aim at[kCorners];
};

constexpr int kNowhere = -1;

__device__ __forceinline__ void aim(const Point& point, const Window& window, Target* target) {
  const BilinearCorners<float>& corners = point.corners;
  const int turn = int(corners.line & 1) << 1 | int(corners.column & 1);
#pragma unroll
  for (int corner = 0; corner < kCorners; ++corner) {
    const int parity = corner ^ turn;
    const bool inside = point.pixel[corner] >= 0;
    const int in_window = inside ? window.index_of(corners.line + (corner >> 1),
                                                   corners.column + (corner & 1))
                                 : kNowhere;
    const bool direct = inside && in_window < 0;
    target->at[parity] = {direct ? -2 - point.pixel[corner] : in_window,
                          inside ? corner_weight(corners, corner) * point.weight : 0.0f};
  }
}

__device__ __forceinline__ float4 scaled(const float (&numbers)[4], float weight) {
  return make_float4(weight * numbers[0], weight * numbers[1], weight * numbers[2],
                     weight * numbers[3]);
}

constexpr int kQueriesAtOnce = 8;
constexpr int kAimsAtOnce = 4;

// What one lane adds of a query's points. Aims are read some at a time, in front of the sums: these
// could be anywhere in the same memory, so the compiler would wait for each before the next aim.
__device__ __forceinline__ void add_query(const Target* targets, int points, int parity,
                                          const float (&grad)[4], float4* sums, int quads,
                                          float* grad_value, const Rows& rows) {
  for (int begin = 0; begin < points; begin += kAimsAtOnce) {
    Aim aims[kAimsAtOnce];
#pragma unroll
    for (int k = 0; k < kAimsAtOnce; ++k) {
      aims[k] = begin + k < points ? targets[begin + k].at[parity] : Aim{kNowhere, 0.0f};
    }
#pragma unroll
    for (int k = 0; k < kAimsAtOnce; ++k) {
      const int to = aims[k].to;
      if (to == kNowhere) continue;
      const float4 part = scaled(grad, aims[k].weight);
      if (to >= 0) {
        float4& sum = sums[to * quads];
        sum = make_float4(sum.x + part.x, sum.y + part.y, sum.z + part.z, sum.w + part.w);
      } else {
        add_four(grad_value + rows.at(-2 - to), part);
      }
    }
  }
}

// Adds the windows' sums to grad_value; all lanes of the level's warp.
__device__ __forceinline__ void flush_window(const Window& window, const Levels& levels, int level,
                                             const Sizes& sizes, const Rows& rows,
                                             const float4* sums, int quads, int lane,
                                             float* grad_value) {
  for (int i = lane; window.first >= 0 && i < window.size() * quads; i += 32) {
    const float4 sum = sums[i];
    if (sum.x == 0.0f && sum.y == 0.0f && sum.z == 0.0f && sum.w == 0.0f) continue;
    const int k = i / quads;
    const int64_t pixel = levels.starts[level] +
                          (window.line + k / window.columns) * levels.shapes[2 * level + 1] +
                          window.column + k % window.columns;
    if (pixel < 0 || pixel >= sizes.pixels) continue;  // level starts that nobody has checked
    add_four(grad_value + rows.at(int(pixel)) + i % quads * 4, sum);
  }
}

// Block -> (batch, head), tiles slot, slot + slots, ... of it; warp -> level; lane -> (parity of line
// and column, four channels). So each number of a window has one lane that adds to it, in order, and
// needs neither atomics nor barriers between points.
template <typename T>
__global__ void __launch_bounds__(32 * kMaxWindowLevels, 1)
    scatter_kernel(Inputs inputs, Levels levels, Gradients gradients, int64_t slots,
                   int64_t capacity) {
  DDETR_SHARED_MEMORY(memory);
  const Sizes& sizes = inputs.sizes;
  const int level = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int parity = lane / 8, channel = lane % 8 * 4, quads = int(sizes.channels / 4);
  const bool has_channels = channel < sizes.channels;
  const int points = int(sizes.points);
  const int queries_at_once = 32 / points < kQueriesAtOnce ? 32 / points : kQueriesAtOnce;
  Target* const targets = reinterpret_cast<Target*>(memory) + level * 32;
  float4* const windows = reinterpret_cast<float4*>(memory + blockDim.x * sizeof(Target));
  float* const grad_value = static_cast<float*>(gradients.value);
  const int64_t head_index = blockIdx.x / slots;
  QueryIndex here = {head_index / sizes.heads, head_index % sizes.heads, 0};
  const Rows rows(sizes, here);
  const Tiling tiling(sizes, levels);
  for (int64_t index = blockIdx.x % slots; index < tiling.count; index += slots) {
    const Tile tile = tiling.tile(sizes, levels, index);
    const Window window = plan_window(tile, levels, int(sizes.levels), level, capacity);
    float4* const sums = windows + (window.first < 0 ? 0 : window.first * quads);
    for (int i = lane; window.first >= 0 && i < window.size() * quads; i += 32) {
      sums[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    for (int first = 0; first < tile.size(); first += queries_at_once) {
      const int left = tile.size() - first;
      const int count = left < queries_at_once ? left : queries_at_once;
      // All rows at once, so that one wait serves them.
      float grads[kQueriesAtOnce][4] = {};
#pragma unroll
      for (int k = 0; k < kQueriesAtOnce; ++k) {
        if (!has_channels || k >= count) continue;
        here.query = tile.query(first + k);
        read_channels(static_cast<const T*>(gradients.output) +
                          here.query_row(sizes) * sizes.channels + channel,
                      grads[k]);
      }
      __syncwarp();
      if (lane < count * points) {
        here.query = tile.query(first + lane / points);
        aim(read_point(inputs, levels, here, level * points + lane % points), window,
            targets + lane);
      }
      __syncwarp();
#pragma unroll
      for (int k = 0; k < kQueriesAtOnce; ++k) {
        if (!has_channels || k >= count) continue;
        add_query(targets + k * points, points, parity, grads[k], windows + channel / 4, quads,
                  grad_value + channel, rows);
      }
    }
    __syncwarp();
    flush_window(window, levels, level, sizes, rows, sums, quads, lane, grad_value);
    __syncwarp();
  }
}

// Whether scatter_kernel's lanes and windows suit the sizes.
inline bool can_scatter(const Sizes& sizes) {
  return sizes.queries == sizes.pixels && sizes.channels % 4 == 0 &&
         sizes.channels <= kWindowChannels && sizes.levels <= kMaxWindowLevels &&
         sizes.points <= 32;
}

template <typename T, int kWidth>
void launch_backward_tiles(const Inputs& inputs, const CudaCall& call, const Levels& levels,
                           const Gradients& gradients) {
  const Sizes& sizes = inputs.sizes;
  const int lanes = lanes_for(sizes.channels, kWidth, kCorners);
  const int64_t slots = tile_slots(sizes), blocks = sizes.batch * sizes.heads * slots;
  launch("ms_deform_attn gradients of the points", gather_kernel<T, kWidth>, blocks,
         kGatherThreads, gathered_bytes(lanes), call.stream, inputs, levels, gradients, lanes,
         slots);
  const int threads = 32 * int(sizes.levels);
  const int64_t pixel_bytes = sizes.channels * sizeof(float);
  const int64_t left = int64_t(shared_memory_limit()) - threads * int64_t(sizeof(Target));
  const int64_t usual = usual_window_pixels(sizes.levels);
  const int64_t capacity = usual < left / pixel_bytes ? usual : left / pixel_bytes;
  launch("ms_deform_attn gradient of value", scatter_kernel<T>, blocks, threads,
         threads * sizeof(Target) + capacity * pixel_bytes, call.stream, inputs, levels,
         gradients, slots, capacity);
}

}  // namespace ddetr
