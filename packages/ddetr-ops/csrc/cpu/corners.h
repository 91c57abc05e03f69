// From a query's locations to the rows and weights of its corners, a vector of points at a time.
// Included inside a namespace of the instruction set.

// How to name a row of the task's head by an int32: `stride` times the pixel's index from
// `first_pixel` on; `outside` for a corner outside.
struct RowNames {
  int32_t stride, outside, first_pixel;
};

inline __attribute__((always_inline)) Vector select(IntVector mask, Vector vector) {
  return (Vector)(mask & (IntVector)vector);
}

struct Axis {
  IntVector inside;  // mask: the point counts along this axis
  IntVector cell;    // index of the lower neighbour, -1 before the first
  Vector fraction;
};

// The rule of sampling.h without branches. What is outside forgets its place, so that NaN and
// infinity cannot leak.
inline __attribute__((always_inline)) Axis place_on_axis(Vector location, IntVector cells) {
  const Vector size = __builtin_convertvector(cells, Vector);
  const Vector place = location * size - 0.5f;
  const IntVector inside = (place > -1.0f) & (place < size);
  const Vector safe = select(inside, place);
  IntVector cell = __builtin_convertvector(safe, IntVector);
  cell += __builtin_convertvector(cell, Vector) > safe;  // a true lane is -1
  return {inside, cell, safe - __builtin_convertvector(cell, Vector)};
}

struct PointArrays {
  const float* locations;
  const float* attention;
  float* corner_weights;
  int32_t* corner_rows;
  float* fraction_x;
  float* fraction_y;
  float* weights;
};

// The points from `first` on, one a lane.
inline __attribute__((always_inline)) void place_points(const PointTable& table, int64_t first,
                                                        RowNames names, PointArrays to) {
  const IntVector columns = load(table.columns + first), lines = load(table.lines + first);
  const Pair location = unzip(load(to.locations), load(to.locations + kLanes));
  const Axis x = place_on_axis(location.first, columns);
  const Axis y = place_on_axis(location.second, lines);
  const IntVector inside = x.inside & y.inside;
  const Vector weight = select(inside, load(to.attention));
  const IntVector left = inside & (x.cell >= 0), right = inside & (x.cell + 1 < columns);
  const IntVector top = y.cell >= 0, bottom = y.cell + 1 < lines;
  const IntVector pixel = load(table.start + first) - names.first_pixel + y.cell * columns + x.cell;
  const IntVector above = pixel * names.stride, below = (pixel + columns) * names.stride;
  const IntVector masks[4] = {top & left, top & right, bottom & left, bottom & right};
  const IntVector rows[4] = {above, above + names.stride, below, below + names.stride};
  const Vector upper = (1.0f - y.fraction) * weight, lower = y.fraction * weight;
  const Vector shares[4] = {upper * (1.0f - x.fraction), upper * x.fraction,
                            lower * (1.0f - x.fraction), lower * x.fraction};
  Vector corner_weights[4], corner_rows[4];
  for (int corner = 0; corner < 4; ++corner) {
    const IntVector mask = masks[corner];
    corner_weights[corner] = select(mask, shares[corner]);
    corner_rows[corner] = (Vector)((mask & rows[corner]) | (~mask & names.outside));
  }
  store_corners(to.corner_weights, corner_weights);
  store_corners(reinterpret_cast<float*>(to.corner_rows), corner_rows);
  store(to.fraction_x, x.fraction);
  store(to.fraction_y, y.fraction);
  store(to.weights, weight);
}

// One query's numbers.
struct Query {
  const float* locations;
  const float* attention;
};

inline int64_t count_points(const Task& task) { return task.points.end - task.points.begin; }

inline int64_t whole_vectors_of_points(const Task& task) {
  return (count_points(task) + kLanes - 1) / kLanes * kLanes;
}

// A task takes its queries one after the other, and all its heads of each: their points lie close
// to one another, and so do the rows of a pixel's heads.
struct Turn {
  int64_t query, head;
};

inline Turn first_turn(const Task& task) { return {task.queries.begin, task.heads.begin}; }

inline Turn next_turn(const Task& task, Turn turn) {
  if (turn.head + 1 < task.heads.end) return {turn.query, turn.head + 1};
  return {turn.query + 1, task.heads.begin};
}

inline bool has(const Task& task, Turn turn) { return turn.query < task.queries.end; }

// Which of the B * Q * M rows of locations, weights and output.
inline int64_t row_of(const Task& task, Turn turn) {
  const Sizes& sizes = task.inputs->sizes;
  return (task.batch * sizes.queries + turn.query) * sizes.heads + turn.head;
}

inline Query query_at(const Task& task, Turn turn) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t first = row_of(task, turn) * sizes.levels * sizes.points + task.points.begin;
  return {static_cast<const float*>(task.inputs->locations) + 2 * first,
          static_cast<const float*>(task.inputs->weights) + first};
}

constexpr int64_t kQueriesAhead = 8;

// Always inline: GCC takes a function that only prefetches for one without effect and drops calls.
inline __attribute__((always_inline)) void prefetch(const void* from, int64_t bytes) {
  for (int64_t byte = 0; byte < bytes; byte += 64) {
    __builtin_prefetch(static_cast<const char*>(from) + byte);
  }
}

// Queries of one head lie M * L * P numbers apart: the hardware's prefetcher does not follow.
inline __attribute__((always_inline)) void prefetch_query(const Task& task, Turn turn) {
  if (!has(task, turn)) return;
  const int64_t bytes = count_points(task) * int64_t(sizeof(float));
  const Query ahead = query_at(task, turn);
  prefetch(ahead.locations, 2 * bytes);
  prefetch(ahead.attention, bytes);
}

// Points that fill up a vector lie nowhere.
inline void fill_up_points(const Task& task) {
  const int64_t points = padded_points(count_points(task));
  for (int64_t k = 0; k < 2 * points; ++k) task.workspace.locations[k] = __builtin_nanf("");
  for (int64_t k = 0; k < points; ++k) task.workspace.attention[k] = 0.0f;
}

// A query whose points fill whole vectors is read in place, another one is copied first.
inline Query whole_vectors(const Task& task, Query query) {
  const int64_t points = count_points(task);
  if (points % kLanes == 0) return query;
  const Workspace& space = task.workspace;
  __builtin_memcpy(space.locations, query.locations, size_t(2 * points) * sizeof(float));
  __builtin_memcpy(space.attention, query.attention, size_t(points) * sizeof(float));
  return {space.locations, space.attention};
}

// Weights and rows of one query's corners, and what the gradient of its points needs.
struct Corners {
  float* weights;
  int32_t* rows;
  int64_t* offsets;  // of unpacked rows only
  float* fraction_x;
  float* fraction_y;
  float* attention;  // 0 for a point outside
};

inline Corners corner_set(const Task& task, int64_t index) {
  const int64_t points = padded_points(count_points(task)), set = index & (kCornerSets - 1);
  const Workspace& space = task.workspace;
  float* fractions = space.fractions + set * 3 * points;
  const int64_t first = set * 4 * points;
  return {space.corner_weights + first, space.corner_rows + first, space.corner_offsets + first,
          fractions, fractions + points, fractions + 2 * points};
}

inline __attribute__((always_inline)) void place_query(const Task& task, Turn turn, RowNames names,
                                                       Corners to) {
  const Query from = whole_vectors(task, query_at(task, turn));
  const int64_t points = count_points(task);
  for (int64_t j = 0; j < points; j += kLanes) {
    place_points(*task.table, task.points.begin + j, names,
                 {from.locations + 2 * j, from.attention + j, to.weights + 4 * j, to.rows + 4 * j,
                  to.fraction_x + j, to.fraction_y + j, to.attention + j});
  }
}

// Names the rows of a turn's corners.
template <typename Head>
inline __attribute__((always_inline)) void prepare(const Task& task, const Head& head, Turn turn,
                                                   Corners to) {
  place_query(task, turn, head.names, to);
  head.resolve(to, 4 * whole_vectors_of_points(task), turn.head);
}

// Cold rows are asked for some turns ahead and a few at a time, between the sums of another turn:
// a processor keeps few requests open and would wait for a burst of them.
constexpr int64_t kPlacedAhead = 2;
static_assert(kPlacedAhead < kCornerSets, "a set in use would be overwritten");

// Prepares turns ahead of those that are summed.
template <typename Head>
class Lookahead {
 public:
  Lookahead(const Task& task, const Head& head)
      : task_(task), head_(head), ahead_(first_turn(task)) {
    for (int64_t k = 0; k < kTurns; ++k) place();
  }
  // Places one more turn; to be called once before each turn is summed.
  void step() {
    place();
    ++current_;
  }
  Corners current() const { return corner_set(task_, current_ - 1); }
  // The furthest turn, whose rows are to be fetched now.
  Corners next() const { return corner_set(task_, placed_ - 1); }

 private:
  static constexpr int64_t kTurns = Head::kCold ? kPlacedAhead : 0;

  void place() {
    if (!has(task_, ahead_)) return;
    prepare(task_, head_, ahead_, corner_set(task_, placed_++));
    ahead_ = next_turn(task_, ahead_);
  }

  const Task& task_;
  const Head& head_;
  Turn ahead_;
  int64_t placed_ = 0, current_ = 0;
};
