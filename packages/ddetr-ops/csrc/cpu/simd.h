// Vectors of kLanes floats by the compiler's vector extension. Included inside a namespace of the
// instruction set, so that no function of one set can stand in for another's at link time.

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float UnalignedVector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t IntVector __attribute__((vector_size(kLanes * 4)));
typedef int32_t UnalignedIntVector __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline __attribute__((always_inline)) Vector load(const float* from) {
  return *reinterpret_cast<const UnalignedVector*>(from);
}

inline __attribute__((always_inline)) IntVector load(const int32_t* from) {
  return *reinterpret_cast<const UnalignedIntVector*>(from);
}

inline __attribute__((always_inline)) void store(float* to, Vector vector) {
  *reinterpret_cast<UnalignedVector*>(to) = vector;
}

inline __attribute__((always_inline)) void store(int32_t* to, IntVector vector) {
  *reinterpret_cast<UnalignedIntVector*>(to) = vector;
}

// Past the caches, for results that nobody reads soon; `to` is aligned to the vector.
inline __attribute__((always_inline)) void stream(float* to, Vector vector) {
#if defined(__AVX512F__)
  _mm512_stream_ps(to, (__m512)vector);
#elif defined(__AVX2__)
  _mm256_stream_ps(to, (__m256)vector);
#elif defined(__SSE2__)
  _mm_stream_ps(to, (__m128)vector);
#else
  store(to, vector);
#endif
}

inline void finish_streams() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <int... kFrom>
inline __attribute__((always_inline)) Vector shuffle(Vector a, Vector b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, kFrom...);
#else
  return __builtin_shuffle(a, b, IntVector{kFrom...});
#endif
}

using Lanes = std::make_integer_sequence<int, kLanes>;

// (a0, b0, a1, b1, ...) of the lower halves, or of the upper halves.
template <bool kUpper, int... kLane>
inline __attribute__((always_inline)) Vector zip(Vector a, Vector b,
                                                 std::integer_sequence<int, kLane...>) {
  constexpr int kFirst = kUpper ? kLanes / 2 : 0;
  return shuffle<(kFirst + kLane / 2 + (kLane % 2) * kLanes)...>(a, b);
}

// Every second lane of a, then of b, from lane 0 or from lane 1 on: undoes zip.
template <bool kOdd, int... kLane>
inline __attribute__((always_inline)) Vector unzip(Vector a, Vector b,
                                                   std::integer_sequence<int, kLane...>) {
  return shuffle<(2 * kLane + (kOdd ? 1 : 0))...>(a, b);
}

struct Pair {
  Vector first, second;
};

inline __attribute__((always_inline)) Pair zip(Vector a, Vector b) {
  return {zip<false>(a, b, Lanes()), zip<true>(a, b, Lanes())};
}

inline __attribute__((always_inline)) Pair unzip(Vector a, Vector b) {
  return {unzip<false>(a, b, Lanes()), unzip<true>(a, b, Lanes())};
}

// Four vectors, one a corner, to memory with a point's four corners side by side; and back.
inline __attribute__((always_inline)) void store_corners(float* to, const Vector (&corners)[4]) {
  const Pair even = zip(corners[0], corners[2]), odd = zip(corners[1], corners[3]);
  const Pair low = zip(even.first, odd.first), high = zip(even.second, odd.second);
  store(to, low.first);
  store(to + kLanes, low.second);
  store(to + 2 * kLanes, high.first);
  store(to + 3 * kLanes, high.second);
}

inline __attribute__((always_inline)) void split_corners(const Vector (&from)[4],
                                                         Vector (&corners)[4]) {
  const Pair low = unzip(from[0], from[1]), high = unzip(from[2], from[3]);
  const Pair even = unzip(low.first, high.first), odd = unzip(low.second, high.second);
  corners[0] = even.first;
  corners[2] = even.second;
  corners[1] = odd.first;
  corners[3] = odd.second;
}

// Lane i of the result is the sum over the lanes of vectors[i]: a transposing tree, 3 operations a
// sum. Zipping v[i] with v[i + half] and adding the halves keeps the order of the lanes.
template <int kCount>
inline __attribute__((always_inline)) Vector sum_each(Vector (&vectors)[kLanes]) {
  constexpr int kHalf = kCount / 2;
  for (int i = 0; i < kHalf; ++i) {
    const Pair pair = zip(vectors[i], vectors[i + kHalf]);
    vectors[i] = pair.first + pair.second;
  }
  if constexpr (kHalf > 1) {
    return sum_each<kHalf>(vectors);
  } else {
    return vectors[0];
  }
}
