// One head's outputs. Included inside a namespace of the instruction set.

// Sums weighted corner rows, kVectors vectors of channels from `channel` on. Independent
// accumulators for the corners hide the latency of the multiply-adds.
template <int kVectors, typename Head>
inline __attribute__((always_inline)) void gather(const Head& head, Corners corners, Corners next,
                                                  int64_t points, int64_t channel, float* to) {
  constexpr int kChains = kVectors <= 2 ? 4 : kVectors <= 4 ? 2 : 1;
  Vector sums[kChains][kVectors] = {};
  for (int64_t k = 0; k < 4 * points; k += 4) {
    for (int corner = 0; corner < 4; ++corner) {
      head.fetch_value(next, k + corner, channel, kVectors);
    }
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

template <int kVectors, typename Head>
void forward_queries(const Task& task, const Head& head, int64_t padded, void* output) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const bool streamed = can_stream(output, row_bytes);
  fill_up_points(task);
  Lookahead<Head> lookahead(task, head);
  for (Turn turn = first_turn(task); has(task, turn); turn = next_turn(task, turn)) {
    prefetch_query(task, {turn.query + kQueriesAhead, turn.head});
    lookahead.step();
    const Corners corners = lookahead.current(), next = lookahead.next();
    for (int64_t channel = 0; channel < padded; channel += kVectors * kLanes) {
      gather<kVectors>(head, corners, next, count_points(task), channel, task.workspace.row);
    }
    char* to = static_cast<char*>(output) + row_of(task, turn) * row_bytes;
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
