// One head's outputs. Included inside a namespace of the instruction set.

// Sums weighted corner rows, kVectors vectors of channels from `channel` on. Independent
// accumulators for the corners hide the latency of the multiply-adds.
template <int kVectors, typename Head>
inline __attribute__((always_inline)) void gather(const Head& head, Corners corners, int64_t points,
                                                  int64_t channel, float* to) {
  constexpr int kChains = kVectors <= 2 ? 4 : kVectors <= 4 ? 2 : 1;
  Vector sums[kChains][kVectors] = {};
  for (int64_t k = 0; k < 4 * points; k += 4) {
    for (int corner = 0; corner < 4; ++corner) {
      const float weight = corners.weights[k + corner];
      const float* row = head.value_row(corners, k + corner) + channel;
      for (int v = 0; v < kVectors; ++v) {
        sums[corner % kChains][v] += weight * load(row + v * kLanes);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    for (int chain = 1; chain < kChains; ++chain) sums[0][v] += sums[chain][v];
    store(to + channel + v * kLanes, sums[0][v]);
  }
}

template <typename Head>
inline __attribute__((always_inline)) void prepare_query(const Task& task, const Head& head,
                                                         int64_t query, Corners corners) {
  const int64_t count = 4 * whole_vectors_of_points(task);
  place_query(task, query, head.names, corners);
  head.resolve(corners, count);
  if (!Head::kCold) return;
  const int64_t bytes = task.inputs->sizes.channels * int64_t(sizeof(float));
  for (int64_t k = 0; k < count; ++k) prefetch(head.value_row(corners, k), bytes);
}

// Cold rows are asked for one query ahead, while the query before is summed.
template <int kVectors, typename Head>
void forward_queries(const Task& task, const Head& head, int64_t padded, void* output) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const int64_t stride = sizes.heads * row_bytes;
  char* to = static_cast<char*>(output) + task.batch * sizes.queries * stride +
             task.head * row_bytes + task.queries.begin * stride;
  const bool streamed = can_stream(to, row_bytes);
  fill_up_points(task);
  if (Head::kCold) prepare_query(task, head, task.queries.begin, corner_set(task, 0));
  for (int64_t query = task.queries.begin; query < task.queries.end; ++query, to += stride) {
    const int64_t set = Head::kCold ? query - task.queries.begin : 0;
    const Corners corners = corner_set(task, set);
    prefetch_query(task, query + kQueriesAhead);
    if (!Head::kCold) {
      prepare_query(task, head, query, corners);
    } else if (query + 1 < task.queries.end) {
      prepare_query(task, head, query + 1, corner_set(task, set + 1));
    }
    for (int64_t channel = 0; channel < padded; channel += kVectors * kLanes) {
      gather<kVectors>(head, corners, count_points(task), channel, task.workspace.row);
    }
    write_row(task.inputs->dtype, task.workspace.row, sizes.channels, to, streamed);
  }
}

template <int kVectors>
void forward_head(const Task& task, int64_t padded, void* output) {
  if (task.packed) {
    pack(task, padded);
    forward_queries<kVectors>(task, PackedHead(task, padded), padded, output);
  } else {
    forward_queries<kVectors>(task, DirectHead(task, nullptr), padded, output);
  }
  finish_streams();
}

void forward(const Task& task, void* output) {
  const int64_t channels = task.inputs->sizes.channels;
  const int64_t padded = padded_channels(channels, kLanes);
  switch (vectors_in_block(channels, kLanes)) {
    case 1: return forward_head<1>(task, padded, output);
    case 2: return forward_head<2>(task, padded, output);
    case 4: return forward_head<4>(task, padded, output);
    default: return forward_head<kMaxVectors>(task, padded, output);
  }
}
