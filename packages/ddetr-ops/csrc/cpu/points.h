// Locations from offsets and weights from logits, and back, one query after the other.
// Included inside a namespace of the instruction set.

constexpr float kLog2E = 0x1.715476p+0f;
// ln 2 in two parts, so that a whole multiple of the first part is exact.
constexpr float kLn2High = 0x1.62e400p-1f, kLn2Low = 0x1.7f7d1cp-20f;
constexpr float kSmallestExponent = -87.0f;  // below, e^x is a subnormal number: zero here

inline __attribute__((always_inline)) Vector broadcast(float number) { return number - Vector{}; }

// e^x for x <= 0 by Taylor's series around the nearest multiple of ln 2; NaN stays NaN.
inline __attribute__((always_inline)) Vector exponential(Vector x) {
  const IntVector vanishes = x < kSmallestExponent;
  const Vector safe = select(x >= kSmallestExponent, x);
  const IntVector power = __builtin_convertvector(safe * kLog2E - 0.5f, IntVector);
  const Vector whole = __builtin_convertvector(power, Vector);
  const Vector rest = (safe - whole * kLn2High) - whole * kLn2Low;  // |rest| <= ln 2 / 2
  Vector sum = broadcast(1.0f / 5040.0f);
  for (const float factor : {720.0f, 120.0f, 24.0f, 6.0f, 2.0f, 1.0f, 1.0f}) {
    sum = sum * rest + 1.0f / factor;
  }
  const Vector scaled = sum * (Vector)((power + 127) << 23);
  const Vector known = select(~vanishes, scaled);
  return (Vector)(((x == x) & (IntVector)known) | (~(x == x) & (IntVector)x));
}

template <int kDistance, int... kLane>
inline __attribute__((always_inline)) Vector rotate(Vector v,
                                                    std::integer_sequence<int, kLane...>) {
  return shuffle<((kLane + kDistance) % kLanes)...>(v, v);
}

// Every lane gets the sum, or the largest number, of all lanes.
template <int kDistance = kLanes / 2>
inline __attribute__((always_inline)) Vector sum_lanes(Vector v) {
  v += rotate<kDistance>(v, Lanes());
  if constexpr (kDistance > 1) return sum_lanes<kDistance / 2>(v);
  return v;
}

inline __attribute__((always_inline)) Vector larger(Vector a, Vector b) {
  const IntVector first = a > b;
  return (Vector)((first & (IntVector)a) | (~first & (IntVector)b));
}

template <int kDistance = kLanes / 2>
inline __attribute__((always_inline)) Vector largest_lane(Vector v) {
  v = larger(v, rotate<kDistance>(v, Lanes()));
  if constexpr (kDistance > 1) return largest_lane<kDistance / 2>(v);
  return v;
}

// What a query's heads share, a number for each of the 2 * L * P coordinates:
// location = reference + offset / divisor * scale.
struct PointTables {
  int64_t levels, points, coordinates, count;  // count = 2 * L * P
  float *divisor, *reference, *scale;
  float *sum, *box_sum;  // of the locations' gradients, and of these times offset / divisor
  float* row;            // L * P numbers, filled up to whole vectors

  PointTables(const PointInputs& inputs, float* space)
      : levels(inputs.sizes.levels),
        points(inputs.sizes.points),
        coordinates(inputs.coordinates),
        count(2 * levels * points) {
    const int64_t each = padded_points(count);
    divisor = space, reference = space + each, scale = space + 2 * each;
    sum = space + 3 * each, box_sum = space + 4 * each, row = space + 5 * each;
    for (int64_t k = 0; k < count; ++k) {
      const Level& level = inputs.levels[k / (2 * points)];
      divisor[k] = float(coordinates == 4 ? points : k & 1 ? level.height : level.width);
      scale[k] = 1.0f;
    }
  }

  void read(const float* references) {  // (L, 2 or 4)
    for (int64_t k = 0; k < count; ++k) {
      const float* from = references + k / (2 * points) * coordinates;
      reference[k] = from[k & 1];
      if (coordinates == 4) scale[k] = 0.5f * from[2 + (k & 1)];
    }
  }

  void write_gradient(float* references) const {  // (L, 2 or 4)
    for (int64_t level = 0; level < levels; ++level) {
      for (int64_t axis = 0; axis < 2; ++axis) {
        float total = 0.0f, box_total = 0.0f;
        for (int64_t p = 0; p < points; ++p) {
          total += sum[2 * (level * points + p) + axis];
          box_total += box_sum[2 * (level * points + p) + axis];
        }
        references[level * coordinates + axis] = total;
        if (coordinates == 4) references[level * coordinates + 2 + axis] = 0.5f * box_total;
      }
    }
  }
};

inline void locate(const PointTables& tables, const float* __restrict__ offsets,
                   float* __restrict__ locations) {
  const float *divisor = tables.divisor, *reference = tables.reference, *scale = tables.scale;
#pragma GCC ivdep
  for (int64_t k = 0; k < tables.count; ++k) {
    locations[k] = reference[k] + offsets[k] / divisor[k] * scale[k];
  }
}

inline void softmax(const float* logits, int64_t count, float* row, float* weights) {
  __builtin_memcpy(row, logits, size_t(count) * sizeof(float));
  for (int64_t k = count; k % kLanes; ++k) row[k] = -__builtin_inff();
  Vector top = load(row);
  for (int64_t k = kLanes; k < count; k += kLanes) top = larger(top, load(row + k));
  top = largest_lane(top);
  Vector sum = {};
  for (int64_t k = 0; k < count; k += kLanes) {
    const Vector power = exponential(load(row + k) - top);
    store(row + k, power);
    sum += power;
  }
  sum = sum_lanes(sum);
  for (int64_t k = 0; k < count; k += kLanes) store(row + k, load(row + k) / sum);
  __builtin_memcpy(weights, row, size_t(count) * sizeof(float));
}

void points(const PointInputs& inputs, Range queries, float* space, const PointOutputs& to) {
  PointTables tables(inputs, space);
  const int64_t count = tables.count, heads = inputs.sizes.heads;
  for (int64_t query = queries.begin; query < queries.end; ++query) {
    tables.read(inputs.references + query * tables.levels * tables.coordinates);
    for (int64_t row = query * heads; row < (query + 1) * heads; ++row) {
      locate(tables, inputs.offsets + row * count, to.locations + row * count);
      softmax(inputs.logits + row * (count / 2), count / 2, tables.row,
              to.weights + row * (count / 2));
    }
  }
}

inline void locate_backward(const PointTables& tables, const float* __restrict__ offsets,
                            const float* __restrict__ grad_locations,
                            float* __restrict__ grad_offsets) {
  const float *divisor = tables.divisor, *scale = tables.scale;
  float *sum = tables.sum, *box_sum = tables.box_sum;
#pragma GCC ivdep
  for (int64_t k = 0; k < tables.count; ++k) {
    sum[k] += grad_locations[k];
    box_sum[k] += grad_locations[k] * (offsets[k] / divisor[k]);
    grad_offsets[k] = grad_locations[k] / divisor[k] * scale[k];
  }
}

// d softmax: w * (g - sum(w * g)).
inline void softmax_backward(const float* __restrict__ weights,
                             const float* __restrict__ grad_weights, int64_t count,
                             float* __restrict__ grad_logits) {
  float dot = 0.0f;
  for (int64_t k = 0; k < count; ++k) dot += weights[k] * grad_weights[k];
  for (int64_t k = 0; k < count; ++k) grad_logits[k] = weights[k] * (grad_weights[k] - dot);
}

void points_backward(const PointInputs& inputs, Range queries, float* space,
                     const PointBackward& gradients) {
  PointTables tables(inputs, space);
  const int64_t count = tables.count, heads = inputs.sizes.heads;
  const int64_t numbers = tables.levels * tables.coordinates;
  for (int64_t query = queries.begin; query < queries.end; ++query) {
    tables.read(inputs.references + query * numbers);
    __builtin_memset(tables.sum, 0, size_t(count) * sizeof(float));
    __builtin_memset(tables.box_sum, 0, size_t(count) * sizeof(float));
    for (int64_t row = query * heads; row < (query + 1) * heads; ++row) {
      const int64_t at = row * count, half = row * (count / 2);
      locate_backward(tables, inputs.offsets + at, gradients.locations + at,
                      gradients.offsets + at);
      softmax_backward(gradients.softmax + half, gradients.weights + half, count / 2,
                       gradients.logits + half);
    }
    tables.write_gradient(gradients.references + query * numbers);
  }
}
