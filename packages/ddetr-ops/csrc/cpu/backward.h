// One head's gradients. Included inside a namespace of the instruction set.

// For kLanes corners from `first` on: adds grad_output times the corner's weight to the gradient
// rows and gives the dot products of grad_output with the corner rows.
template <int kVectors, typename Head>
inline __attribute__((always_inline)) Vector scatter(const Head& head, Corners corners,
                                                     Corners next, int64_t first, int64_t channel,
                                                     const Vector (&grad_output)[kVectors]) {
  Vector products[kLanes];
  for (int k = 0; k < kLanes; ++k) {
    head.fetch_value(next, first + k, channel, kVectors);
    head.fetch_grad(next, first + k, channel, kVectors);
  }
#pragma GCC unroll 16
  for (int k = 0; k < kLanes; ++k) {
    const float* row = head.value_row(corners, first + k) + channel;
    float* grad_row = head.grad_row(corners, first + k) + channel;
    const float weight = corners.weights[first + k];
    Vector product = grad_output[0] * load(row);
    for (int v = 1; v < kVectors; ++v) product += grad_output[v] * load(row + v * kLanes);
    for (int v = 0; v < kVectors; ++v) {
      store(grad_row + v * kLanes, load(grad_row + v * kLanes) + weight * grad_output[v]);
    }
    products[k] = product;
  }
  return sum_each<kLanes>(products);
}

// One query: scatters to all its corners; leaves their dot products in the workspace.
template <int kVectors, typename Head>
inline __attribute__((always_inline)) void scatter_query(const Task& task, const Head& head,
                                                         Corners corners, Corners next,
                                                         int64_t padded) {
  const int64_t count = 4 * count_points(task);
  float* dots = task.workspace.dots;
  for (int64_t channel = 0; channel < padded; channel += kVectors * kLanes) {
    Vector grad_output[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      grad_output[v] = load(task.workspace.row + channel + v * kLanes);
    }
    for (int64_t k = 0; k < count; k += kLanes) {
      const Vector sums = scatter<kVectors>(head, corners, next, k, channel, grad_output);
      store(dots + k, channel ? load(dots + k) + sums : sums);
    }
  }
}

// The rule of sampling.h, point_gradients, for the points from `j` on, one a lane.
inline __attribute__((always_inline)) void finish_points(const Task& task, Corners corners,
                                                         int32_t outside, int64_t j) {
  const Workspace& space = task.workspace;
  const int64_t all = padded_points(count_points(task));
  Vector dots[4], corner[4];
  for (int part = 0; part < 4; ++part) {
    const int64_t k = 4 * j + part * kLanes;
    dots[part] = select(load(corners.rows + k) != outside, load(space.dots + k));
  }
  split_corners(dots, corner);
  const int64_t point = task.points.begin + j;
  const Vector width = __builtin_convertvector(load(task.table->columns + point), Vector);
  const Vector height = __builtin_convertvector(load(task.table->lines + point), Vector);
  const Vector x = load(corners.fraction_x + j), y = load(corners.fraction_y + j);
  const Vector weight = load(corners.attention + j);
  const Vector top = (1.0f - x) * corner[0] + x * corner[1];
  const Vector bottom = (1.0f - x) * corner[2] + x * corner[3];
  const Vector along_x = (1.0f - y) * (corner[1] - corner[0]) + y * (corner[3] - corner[2]);
  const Pair locations = zip(weight * width * along_x, weight * height * (bottom - top));
  store(space.grad_points + 2 * j, locations.first);
  store(space.grad_points + 2 * j + kLanes, locations.second);
  store(space.grad_points + 2 * all + j, (1.0f - y) * top + y * bottom);
}

inline void write_points(const Task& task, Turn turn, const Gradients& gradients) {
  const Query here = query_at(task, turn);
  const int64_t at = here.attention - static_cast<const float*>(task.inputs->weights);
  const int64_t points = count_points(task), all = padded_points(points);
  float* to_locations = static_cast<float*>(gradients.locations) + 2 * at;
  float* to_weights = static_cast<float*>(gradients.weights) + at;
  const int64_t bytes = points * int64_t(sizeof(float));
  const bool streamed = can_stream(to_weights, bytes) && can_stream(to_locations, bytes);
  write_floats(task.workspace.grad_points, 2 * points, to_locations, streamed);
  write_floats(task.workspace.grad_points + 2 * all, points, to_weights, streamed);
}

template <int kVectors, typename Head>
void backward_queries(const Task& task, const Head& head, int64_t padded,
                      const Gradients& gradients) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const char* from = static_cast<const char*>(gradients.output);
  fill_up_points(task);
  Lookahead<Head> lookahead(task, head);
  for (Turn turn = first_turn(task); has(task, turn); turn = next_turn(task, turn)) {
    const Turn later = {turn.query + kQueriesAhead, turn.head};
    prefetch_query(task, later);
    prefetch(from + row_of(task, later) * row_bytes, row_bytes);
    lookahead.step();
    const Corners corners = lookahead.current(), next = lookahead.next();
    read_row(task.inputs->dtype, from + row_of(task, turn) * row_bytes, sizes.channels,
             task.workspace.row);
    scatter_query<kVectors>(task, head, corners, next, padded);
    for (int64_t j = 0; j < count_points(task); j += kLanes) {
      finish_points(task, corners, head.names.outside, j);
    }
    write_points(task, turn, gradients);
  }
}

template <int kVectors>
void backward_head(const Task& task, int64_t padded, const Gradients& gradients) {
  if (task.packed) {
    pack(task, padded);
    const int64_t rows = task.pixels.end - task.pixels.begin + 1;
    __builtin_memset(task.workspace.grad_value, 0, size_t(rows * padded) * sizeof(float));
    backward_queries<kVectors>(task, PackedHead(task, padded), padded, gradients);
    unpack_gradient(task, padded, gradients.value);
  } else {
    backward_queries<kVectors>(task, DirectHead(task, gradients.value), padded, gradients);
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
