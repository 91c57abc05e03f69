// One head's outputs. Included inside a namespace of the instruction set.

// Sums weighted corner rows, kVectors vectors of channels from `channel` on. Independent
// accumulators for the corners hide the latency of the multiply-adds.
template <int kVectors, typename Offset>
inline __attribute__((always_inline)) void gather(const float* base, Corners<Offset> corners,
                                                  int64_t points, float* to) {
  constexpr int kChains = kVectors <= 2 ? 4 : kVectors <= 4 ? 2 : 1;
  Vector sums[kChains][kVectors] = {};
  for (int64_t j = 0; j < points; ++j) {
    for (int corner = 0; corner < 4; ++corner) {
      const float weight = corners.weights[4 * j + corner];
      const float* row = base + corners.offsets[4 * j + corner];
      for (int v = 0; v < kVectors; ++v) {
        sums[corner % kChains][v] += weight * load(row + v * kLanes);
      }
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    for (int chain = 1; chain < kChains; ++chain) sums[0][v] += sums[chain][v];
    store(to + v * kLanes, sums[0][v]);
  }
}

template <typename Offset>
inline void prefetch_rows(const float* base, Corners<Offset> corners, int64_t points,
                          int64_t channels) {
  for (int64_t k = 0; k < 4 * points; ++k) {
    prefetch(base + corners.offsets[k], channels * int64_t(sizeof(float)));
  }
}

template <int kVectors, typename Offset>
void forward_queries(const Task& task, HeadRows<Offset> head, int64_t padded, void* output) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const int64_t points = task.points.end - task.points.begin;
  const int64_t first = task.batch * sizes.queries * sizes.heads + task.head;
  char* output_base = static_cast<char*>(output) + first * row_bytes;
  const bool streamed = can_stream(output_base, row_bytes);
  // Unpacked rows are cold: the next query's are asked for while this one's are summed.
  constexpr bool kLookAhead = sizeof(Offset) == sizeof(int64_t);
  if (kLookAhead) place_query(task, task.queries.begin, head.rows, corner_set<Offset>(task, 0));
  for (int64_t query = task.queries.begin; query < task.queries.end; ++query) {
    const int64_t set = kLookAhead ? query - task.queries.begin : 0;
    const Corners<Offset> corners = corner_set<Offset>(task, set);
    prefetch_query(task, query + kQueriesAhead);
    if (!kLookAhead) {
      place_query(task, query, head.rows, corners);
    } else if (query + 1 < task.queries.end) {
      const Corners<Offset> next = corner_set<Offset>(task, set + 1);
      place_query(task, query + 1, head.rows, next);
      prefetch_rows(head.base, next, points, sizes.channels);
    }
    for (int64_t channel = 0; channel < padded; channel += kVectors * kLanes) {
      gather<kVectors>(head.base + channel, corners, points, task.workspace.row + channel);
    }
    write_row(task.inputs->dtype, task.workspace.row, sizes.channels,
              output_base + query * sizes.heads * row_bytes, streamed);
  }
}

template <int kVectors>
void forward_head(const Task& task, int64_t padded, void* output) {
  if (task.packed) {
    pack(task, padded);
    forward_queries<kVectors>(task, packed_rows(task, padded), padded, output);
  } else {
    forward_queries<kVectors>(task, direct_rows(task), padded, output);
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
