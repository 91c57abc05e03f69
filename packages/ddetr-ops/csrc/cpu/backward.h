// One head's gradients. Included inside a namespace of the instruction set.

template <typename Offset>
struct GradRows {
  float* base;
  Offset zero_row;  // of the gradient: takes what falls outside, read by nobody
};

// For kLanes corners: adds grad_output times the corner's weight to the gradient rows and gives the
// dot products of grad_output with the corner rows.
template <int kVectors, typename Offset>
inline __attribute__((always_inline)) Vector scatter(const float* base, GradRows<Offset> grad,
                                                     Offset zero_row, Corners<Offset> corners,
                                                     const Vector (&grad_output)[kVectors]) {
  Vector products[kLanes];
#pragma GCC unroll 16
  for (int k = 0; k < kLanes; ++k) {
    const Offset offset = corners.offsets[k];
    const float* row = base + offset;
    // Packed rows and their gradients have their spare row at the same place.
    const bool spare = sizeof(Offset) == sizeof(int64_t) && offset == zero_row;
    float* grad_row = grad.base + (spare ? grad.zero_row : offset);
    const float weight = corners.weights[k];
    Vector product = grad_output[0] * load(row);
    for (int v = 1; v < kVectors; ++v) product += grad_output[v] * load(row + v * kLanes);
    for (int v = 0; v < kVectors; ++v) {
      store(grad_row + v * kLanes, load(grad_row + v * kLanes) + weight * grad_output[v]);
    }
    products[k] = product;
  }
  return sum_each<kLanes>(products);
}

// One block of channels of one query: scatters, and adds to the dot products of all corners.
template <int kVectors, typename Offset>
inline __attribute__((always_inline)) void scatter_block(const float* base, GradRows<Offset> grad,
                                                         Offset zero_row, Corners<Offset> corners,
                                                         const float* grad_output, int64_t count,
                                                         float* dots) {
  Vector vectors[kVectors];
  for (int v = 0; v < kVectors; ++v) vectors[v] = load(grad_output + v * kLanes);
  for (int64_t k = 0; k < count; k += kLanes) {
    const Corners<Offset> here = {corners.weights + k, corners.offsets + k};
    store(dots + k, load(dots + k) + scatter(base, grad, zero_row, here, vectors));
  }
}

// The rule of sampling.h, point_gradients, for all points of a query.
template <typename Offset>
inline __attribute__((always_inline)) void finish_points(const Task& task, Corners<Offset> corners,
                                                         Offset zero_row,
                                                         float* __restrict__ grad_locations,
                                                         float* __restrict__ grad_weights) {
  const float* __restrict__ dots = task.workspace.dots;
  const Offset* __restrict__ offsets = corners.offsets;
  const float* __restrict__ widths = task.table->width + task.points.begin;
  const float* __restrict__ heights = task.table->height + task.points.begin;
  const float* __restrict__ fraction_x = task.workspace.fraction_x;
  const float* __restrict__ fraction_y = task.workspace.fraction_y;
  const float* __restrict__ weights = task.workspace.weights;
  const int64_t count = task.points.end - task.points.begin;
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const float top_left = offsets[4 * j] == zero_row ? 0.0f : dots[4 * j];
    const float top_right = offsets[4 * j + 1] == zero_row ? 0.0f : dots[4 * j + 1];
    const float bottom_left = offsets[4 * j + 2] == zero_row ? 0.0f : dots[4 * j + 2];
    const float bottom_right = offsets[4 * j + 3] == zero_row ? 0.0f : dots[4 * j + 3];
    const float fx = fraction_x[j], fy = fraction_y[j];
    const float top = (1.0f - fx) * top_left + fx * top_right;
    const float bottom = (1.0f - fx) * bottom_left + fx * bottom_right;
    const float along_x =
        (1.0f - fy) * (top_right - top_left) + fy * (bottom_right - bottom_left);
    grad_weights[j] = (1.0f - fy) * top + fy * bottom;
    grad_locations[2 * j] = weights[j] * widths[j] * along_x;
    grad_locations[2 * j + 1] = weights[j] * heights[j] * (bottom - top);
  }
}

template <int kVectors, typename Offset>
void backward_queries(const Task& task, HeadRows<Offset> head, GradRows<Offset> grad,
                      int64_t padded, const Gradients& gradients) {
  const Sizes& sizes = task.inputs->sizes;
  const Workspace& space = task.workspace;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const int64_t points = task.points.end - task.points.begin;
  const int64_t corner_count = padded_corners(task);
  const int64_t first = task.batch * sizes.queries * sizes.heads + task.head;
  const char* grad_output = static_cast<const char*>(gradients.output) + first * row_bytes;
  float* point_row = space.dots + corner_count;  // 3 * points, then streamed out
  const Corners<Offset> corners = corner_set<Offset>(task, 0);
  fill_up(task, head.rows);
  const int64_t ahead = kQueriesAhead * sizes.heads * row_bytes;
  for (int64_t query = task.queries.begin; query < task.queries.end; ++query) {
    const char* arriving = grad_output + query * sizes.heads * row_bytes;
    prefetch_query(task, query + kQueriesAhead);
    prefetch(arriving + ahead, row_bytes);
    place_query(task, query, head.rows, corners);
    read_row(task.inputs->dtype, arriving, sizes.channels, space.row);
    __builtin_memset(space.dots, 0, size_t(corner_count) * sizeof(float));
    for (int64_t channel = 0; channel < padded; channel += kVectors * kLanes) {
      const GradRows<Offset> grad_block = {grad.base + channel, grad.zero_row};
      scatter_block<kVectors>(head.base + channel, grad_block, head.rows.zero_row, corners,
                              space.row + channel, corner_count, space.dots);
    }
    finish_points(task, corners, head.rows.zero_row, point_row, point_row + 2 * points);
    const Query here = query_at(task, query);
    const int64_t at = here.attention - static_cast<const float*>(task.inputs->weights);
    float* to_locations = static_cast<float*>(gradients.locations) + 2 * at;
    float* to_weights = static_cast<float*>(gradients.weights) + at;
    const bool streamed = can_stream(to_weights, points * 4) && can_stream(to_locations, points * 4);
    write_floats(point_row, 2 * points, to_locations, streamed);
    write_floats(point_row + 2 * points, points, to_weights, streamed);
  }
}

template <int kVectors>
void backward_head(const Task& task, int64_t padded, const Gradients& gradients) {
  const Workspace& space = task.workspace;
  const Sizes& sizes = task.inputs->sizes;
  if (task.packed) {
    pack(task, padded);
    const int64_t rows = task.pixels.end - task.pixels.begin + 1;
    __builtin_memset(space.grad_value, 0, size_t(rows * padded) * sizeof(float));
    const HeadRows<int32_t> head = packed_rows(task, padded);
    backward_queries<kVectors, int32_t>(task, head, {space.grad_value, head.rows.zero_row}, padded,
                                        gradients);
    unpack_gradient(task, padded, gradients.value);
  } else {
    const int64_t first = (task.batch * sizes.pixels * sizes.heads + task.head) * sizes.channels;
    float* base = static_cast<float*>(gradients.value) + first;
    backward_queries<kVectors, int64_t>(task, direct_rows(task),
                                        {base, elements_between(base, space.trash)}, padded,
                                        gradients);
  }
  finish_streams();
}

void backward(const Task& task, const Gradients& gradients) {
  const int64_t channels = task.inputs->sizes.channels;
  const int64_t padded = padded_channels(channels, kLanes);
  switch (vectors_in_block(channels, kLanes)) {
    case 1: return backward_head<1>(task, padded, gradients);
    case 2: return backward_head<2>(task, padded, gradients);
    case 4: return backward_head<4>(task, padded, gradients);
    default: return backward_head<kMaxVectors>(task, padded, gradients);
  }
}
