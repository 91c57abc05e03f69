// The rows of a task's head: a packed copy, or the tensor itself with a stride of M * D.
// Included inside a namespace of the instruction set.

inline int64_t elements_between(const float* from, const float* to) {
  return (reinterpret_cast<intptr_t>(to) - reinterpret_cast<intptr_t>(from)) /
         int64_t(sizeof(float));
}

inline const float* first_row(const Task& task, const void* tensor) {
  const Sizes& sizes = task.inputs->sizes;
  const int64_t first = task.batch * sizes.pixels * sizes.heads;
  return static_cast<const float*>(tensor) + first * sizes.channels;
}

// Contiguous float32 rows; a corner outside reads the row of zeros after the last one.
class PackedHead {
 public:
  static constexpr bool kCold = false;

  PackedHead(const Task& task, int64_t padded)
      : value_(task.workspace.value), grad_(task.workspace.grad_value) {
    const int64_t rows = task.pixels.end - task.pixels.begin;
    names = {int32_t(padded), int32_t(rows * padded), int32_t(task.pixels.begin)};
  }
  void resolve(Corners, int64_t, int64_t) const {}
  const float* value_row(Corners corners, int64_t k) const { return value_ + corners.rows[k]; }
  float* grad_row(Corners corners, int64_t k) const { return grad_ + corners.rows[k]; }
  void fetch_value(Corners, int64_t, int64_t, int) const {}  // packed rows are warm
  void fetch_grad(Corners, int64_t, int64_t, int) const {}

  RowNames names;

 private:
  const float* value_;
  float* grad_;
};

// Rows where they lie in float32 tensors; a corner outside reads zeros and writes trash.
class DirectHead {
 public:
  static constexpr bool kCold = true;

  DirectHead(const Task& task, void* grad_value)
      : names{1, -1, 0},
        value_(first_row(task, task.inputs->value)),
        grad_(const_cast<float*>(first_row(task, grad_value))),
        trash_(task.workspace.trash),
        channels_(task.inputs->sizes.channels),
        stride_(task.inputs->sizes.heads * channels_),
        zeros_(elements_between(value_, task.workspace.zeros)) {}
  // Pixel indices to offsets from the first row of the image.
  void resolve(Corners corners, int64_t count, int64_t head) const {
    const int64_t first = head * channels_;
    for (int64_t k = 0; k < count; ++k) {
      corners.offsets[k] = corners.rows[k] < 0 ? zeros_ : corners.rows[k] * stride_ + first;
    }
  }
  const float* value_row(Corners corners, int64_t k) const { return value_ + corners.offsets[k]; }
  float* grad_row(Corners corners, int64_t k) const {
    return corners.rows[k] < 0 ? trash_ : grad_ + corners.offsets[k];
  }
  // Asks for `vectors` vectors of a row from `channel` on. Always inline: see prefetch.
  __attribute__((always_inline)) void fetch_value(Corners corners, int64_t k, int64_t channel,
                                                  int vectors) const {
    prefetch(value_row(corners, k) + channel, vectors * kLanes * int64_t(sizeof(float)));
  }
  __attribute__((always_inline)) void fetch_grad(Corners corners, int64_t k, int64_t channel,
                                                 int vectors) const {
    prefetch(grad_row(corners, k) + channel, vectors * kLanes * int64_t(sizeof(float)));
  }

  RowNames names;

 private:
  const float* value_;
  float* grad_;
  float* trash_;
  int64_t channels_, stride_, zeros_;
};
