// From a query's locations to corner offsets and weights, for all points in one vectorised loop.
// Included inside a namespace of the instruction set.

// Element offsets from the first row of the task's head; outside corners point to `zero_row`.
template <typename Offset>
struct Rows {
  Offset stride;
  Offset zero_row;
  int32_t first_pixel;
};

template <typename Offset>
struct Corners {
  float* weights;   // 4 a point: bilinear share times attention weight, 0 outside
  Offset* offsets;  // 4 a point
};

// The rule of sampling.h without branches. A point outside keeps nothing of its place or weight,
// so NaN and infinity cannot leak.
template <typename Offset>
inline __attribute__((always_inline)) void place_points(
    const PointTable& table, Range points, const float* __restrict__ locations,
    const float* __restrict__ attention, Rows<Offset> rows, Corners<Offset> corners,
    float* __restrict__ fraction_x, float* __restrict__ fraction_y, float* __restrict__ weights_inside) {
  float* __restrict__ weights = corners.weights;
  Offset* __restrict__ offsets = corners.offsets;
  const float* __restrict__ widths = table.width + points.begin;
  const float* __restrict__ heights = table.height + points.begin;
  const int32_t* __restrict__ columns = table.columns + points.begin;
  const int32_t* __restrict__ lines = table.lines + points.begin;
  const int32_t* __restrict__ starts = table.start + points.begin;
  const int64_t count = points.end - points.begin;
#pragma GCC ivdep
  for (int64_t j = 0; j < count; ++j) {
    const float x = locations[2 * j] * widths[j] - 0.5f;
    const float y = locations[2 * j + 1] * heights[j] - 0.5f;
    const int32_t ok = (x > -1.0f) & (y > -1.0f) & (x < widths[j]) & (y < heights[j]);
    const float safe_x = ok ? x : 0.0f, safe_y = ok ? y : 0.0f;
    int32_t column = int32_t(safe_x), line = int32_t(safe_y);
    column -= float(column) > safe_x;
    line -= float(line) > safe_y;
    const float fx = safe_x - float(column), fy = safe_y - float(line);
    const float weight = ok ? attention[j] : 0.0f;
    const int32_t left = ok & (column >= 0), right = ok & (column + 1 < columns[j]);
    const int32_t top = line >= 0, bottom = line + 1 < lines[j];
    const int32_t pixel = starts[j] - rows.first_pixel + line * columns[j] + column;
    const Offset offset = Offset(pixel) * rows.stride;
    const Offset below = offset + Offset(columns[j]) * rows.stride;
    offsets[4 * j] = (top & left) ? offset : rows.zero_row;
    offsets[4 * j + 1] = (top & right) ? offset + rows.stride : rows.zero_row;
    offsets[4 * j + 2] = (bottom & left) ? below : rows.zero_row;
    offsets[4 * j + 3] = (bottom & right) ? below + rows.stride : rows.zero_row;
    weights[4 * j] = (top & left) ? (1.0f - fy) * (1.0f - fx) * weight : 0.0f;
    weights[4 * j + 1] = (top & right) ? (1.0f - fy) * fx * weight : 0.0f;
    weights[4 * j + 2] = (bottom & left) ? fy * (1.0f - fx) * weight : 0.0f;
    weights[4 * j + 3] = (bottom & right) ? fy * fx * weight : 0.0f;
    fraction_x[j] = fx;
    fraction_y[j] = fy;
    weights_inside[j] = weight;
  }
}

// One query's numbers; the next query's lie M * L * P further.
struct Query {
  const float* locations;
  const float* attention;
};

inline Query query_at(const Task& task, int64_t query) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row = (task.batch * sizes.queries + query) * sizes.heads + task.head;
  const int64_t first = row * sizes.levels * sizes.points + task.points.begin;
  return {static_cast<const float*>(task.inputs->locations) + 2 * first,
          static_cast<const float*>(task.inputs->weights) + first};
}

constexpr int64_t kQueriesAhead = 8;

inline void prefetch(const void* from, int64_t bytes) {
  for (int64_t byte = 0; byte < bytes; byte += 64) {
    __builtin_prefetch(static_cast<const char*>(from) + byte);
  }
}

inline void prefetch_query(const Task& task, int64_t query) {
  if (query >= task.queries.end) return;
  const int64_t bytes = (task.points.end - task.points.begin) * int64_t(sizeof(float));
  const Query ahead = query_at(task, query);
  prefetch(ahead.locations, 2 * bytes);
  prefetch(ahead.attention, bytes);
}

// Corners of the task's points, filled up to whole vectors.
inline int64_t padded_corners(const Task& task) {
  return (4 * (task.points.end - task.points.begin) + kLanes - 1) / kLanes * kLanes;
}

// Two sets, so that one query's rows can be fetched while another's are summed.
template <typename Offset>
inline Corners<Offset> corner_set(const Task& task, int64_t set) {
  const int64_t first = (set & 1) * padded_corners(task);
  return {task.workspace.corner_weights + first,
          reinterpret_cast<Offset*>(task.workspace.corner_offsets) + first};
}

// What fills up a set adds nothing: weight 0, row of zeros.
template <typename Offset>
inline void fill_up(const Task& task, Rows<Offset> rows) {
  const Corners<Offset> corners = corner_set<Offset>(task, 0);
  for (int64_t k = 0; k < 2 * padded_corners(task); ++k) {
    corners.weights[k] = 0.0f;
    corners.offsets[k] = rows.zero_row;
  }
}

template <typename Offset>
inline __attribute__((always_inline)) void place_query(const Task& task, int64_t query,
                                                       Rows<Offset> rows,
                                                       Corners<Offset> corners) {
  const Query here = query_at(task, query);
  place_points(*task.table, task.points, here.locations, here.attention, rows, corners,
               task.workspace.fraction_x, task.workspace.fraction_y, task.workspace.weights);
}

// Where the head's rows start and how to step through them.
template <typename Offset>
struct HeadRows {
  const float* base;
  Rows<Offset> rows;
};

inline HeadRows<int32_t> packed_rows(const Task& task, int64_t padded) {
  const int64_t count = task.pixels.end - task.pixels.begin;
  const Rows<int32_t> rows = {int32_t(padded), int32_t(count * padded),
                              int32_t(task.pixels.begin)};
  return {task.workspace.value, rows};
}

inline int64_t elements_between(const float* from, const float* to) {
  return (reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from)) /
         int64_t(sizeof(float));
}

inline HeadRows<int64_t> direct_rows(const Task& task) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t first = task.batch * sizes.pixels * sizes.heads + task.head;
  const float* base = static_cast<const float*>(task.inputs->value) + first * sizes.channels;
  return {base, {sizes.heads * sizes.channels, elements_between(base, task.workspace.zeros), 0}};
}
