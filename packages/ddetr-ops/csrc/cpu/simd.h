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
typedef int32_t LaneIndex __attribute__((vector_size(kLanes * 4)));

inline __attribute__((always_inline)) Vector load(const float* from) {
  return *reinterpret_cast<const UnalignedVector*>(from);
}

inline __attribute__((always_inline)) void store(float* to, Vector vector) {
  *reinterpret_cast<UnalignedVector*>(to) = vector;
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

// (a0, b0, a1, b1, ...) of the lower halves, or of the upper halves.
template <bool kUpper, int... kLane>
inline __attribute__((always_inline)) Vector zip(Vector a, Vector b,
                                                 std::integer_sequence<int, kLane...>) {
  constexpr int kFirst = kUpper ? kLanes / 2 : 0;
#if defined(__clang__)
  return __builtin_shufflevector(a, b, (kFirst + kLane / 2 + (kLane % 2) * kLanes)...);
#else
  return __builtin_shuffle(a, b, LaneIndex{(kFirst + kLane / 2 + (kLane % 2) * kLanes)...});
#endif
}

// Lane i of the result is the sum over the lanes of vectors[i]: a transposing tree, 3 operations a
// sum. Zipping v[i] with v[i + half] and adding the halves keeps the order of the lanes.
template <int kCount>
inline __attribute__((always_inline)) Vector sum_each(Vector (&vectors)[kLanes]) {
  constexpr auto kAll = std::make_integer_sequence<int, kLanes>();
  constexpr int kHalf = kCount / 2;
  for (int i = 0; i < kHalf; ++i) {
    const Vector a = vectors[i], b = vectors[i + kHalf];
    vectors[i] = zip<false>(a, b, kAll) + zip<true>(a, b, kAll);
  }
  if constexpr (kHalf > 1) {
    return sum_each<kHalf>(vectors);
  } else {
    return vectors[0];
  }
}
