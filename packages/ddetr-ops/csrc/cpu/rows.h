// Rows of one head between tensors (any dtype, stride M * D) and packed float32.
// Included inside a namespace of the instruction set.

inline float to_float(uint32_t bits) {
  float number;
  __builtin_memcpy(&number, &bits, 4);
  return number;
}

inline uint32_t to_bits(float number) {
  uint32_t bits;
  __builtin_memcpy(&bits, &number, 4);
  return bits;
}

struct Float32 {
  using Stored = float;
  static float widen(float number) { return number; }
  static float narrow(float number) { return number; }
};

struct BFloat16 {
  using Stored = uint16_t;
  static float widen(uint16_t half) { return to_float(uint32_t(half) << 16); }
  static uint16_t narrow(float number) {
    const uint32_t bits = to_bits(number);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, even
    return uint16_t(number != number ? 0x7fc0u : rounded);
  }
};

struct Float16 {
  using Stored = uint16_t;
  static float widen(uint16_t half) {
    const uint32_t sign = uint32_t(half & 0x8000u) << 16;
    const uint32_t magnitude = uint32_t(half & 0x7fffu) << 13;
    // The exponents' biases differ by 112; the product also normalises subnormal numbers.
    const uint32_t finite = to_bits(to_float(magnitude) * 0x1p112f);
    const uint32_t special = 0x7f800000u | magnitude;  // infinity and NaN
    return to_float(sign | (magnitude >= 0x0f800000u ? special : finite));
  }
  static uint16_t narrow(float number) {
    const uint32_t sign = to_bits(number) >> 16 & 0x8000u;
    const uint32_t bits = to_bits(number) & 0x7fffffffu;
    // Below 2^-14 adding 0.5 lets the adder round to the subnormal grid of 2^-24.
    const uint32_t small = to_bits(to_float(bits) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (bits - (112u << 23) + 0xfffu + (bits >> 13 & 1u)) >> 13;
    const uint32_t large = bits > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const uint32_t half = bits < 0x38800000u ? small : bits >= 0x477ff000u ? large : normal;
    return uint16_t(sign | half);
  }
};

template <typename Format>
inline void widen_row(const void* from, int64_t channels, float* __restrict__ to) {
  const auto* __restrict__ stored = static_cast<const typename Format::Stored*>(from);
  for (int64_t c = 0; c < channels; ++c) to[c] = Format::widen(stored[c]);
}

template <typename Format>
inline void narrow_row(const float* __restrict__ from, int64_t channels, void* to) {
  auto* __restrict__ stored = static_cast<typename Format::Stored*>(to);
  for (int64_t c = 0; c < channels; ++c) stored[c] = Format::narrow(from[c]);
}

inline void read_row(DType dtype, const void* from, int64_t channels, float* to) {
  switch (dtype) {
    case DType::kFloat16: return widen_row<Float16>(from, channels, to);
    case DType::kBFloat16: return widen_row<BFloat16>(from, channels, to);
    default: return widen_row<Float32>(from, channels, to);
  }
}

// Whole vectors of whole cache lines may go past the caches.
inline bool can_stream(const void* to, int64_t bytes) {
  return (reinterpret_cast<uintptr_t>(to) | uintptr_t(bytes)) % 64 == 0;
}

inline void write_floats(const float* from, int64_t count, float* to, bool streamed) {
  if (streamed) {
    for (int64_t c = 0; c < count; c += kLanes) stream(to + c, load(from + c));
  } else {
    __builtin_memcpy(to, from, size_t(count) * sizeof(float));
  }
}

inline void write_row(DType dtype, const float* from, int64_t channels, void* to, bool streamed) {
  switch (dtype) {
    case DType::kFloat16: return narrow_row<Float16>(from, channels, to);
    case DType::kBFloat16: return narrow_row<BFloat16>(from, channels, to);
    default: return write_floats(from, channels, static_cast<float*>(to), streamed);
  }
}

inline int64_t bytes_of(DType dtype) { return dtype == DType::kFloat32 ? 4 : 2; }

constexpr int64_t kPackAhead = 16;  // rows; a stride of M * D defeats the hardware's prefetcher

// Copies the task's pixels of one head to float32 rows and adds a row of zeros.
inline void pack(const Task& task, int64_t padded) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t item = bytes_of(task.inputs->dtype);
  const int64_t stride = sizes.heads * sizes.channels * item;
  const int64_t first = task.batch * sizes.pixels + task.pixels.begin;
  const char* from = static_cast<const char*>(task.inputs->value) + first * stride +
                     task.heads.begin * sizes.channels * item;
  const int64_t rows = task.pixels.end - task.pixels.begin;
  float* to = task.workspace.value;
  for (int64_t row = 0; row < rows; ++row, from += stride, to += padded) {
    for (int64_t byte = 0; byte < sizes.channels * item; byte += 64) {
      __builtin_prefetch(from + kPackAhead * stride + byte);
    }
    read_row(task.inputs->dtype, from, sizes.channels, to);
    for (int64_t c = sizes.channels; c < padded; ++c) to[c] = 0.0f;
  }
  __builtin_memset(to, 0, size_t(padded) * sizeof(float));
}

// Rounds the packed gradient to value's dtype and puts it in place.
inline void unpack_gradient(const Task& task, int64_t padded, void* grad_value) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t row_bytes = sizes.channels * bytes_of(task.inputs->dtype);
  const int64_t stride = sizes.heads * row_bytes;
  const int64_t first = task.batch * sizes.pixels + task.pixels.begin;
  char* to = static_cast<char*>(grad_value) + first * stride + task.heads.begin * row_bytes;
  const bool streamed = can_stream(to, row_bytes);
  const int64_t rows = task.pixels.end - task.pixels.begin;
  const float* from = task.workspace.grad_value;
  for (int64_t row = 0; row < rows; ++row, from += padded, to += stride) {
    write_row(task.inputs->dtype, from, sizes.channels, to, streamed);
  }
}
