// What one thread does in one go, and the kernels of one instruction set.
//
// A task owns one head of one image, or several heads where these are not packed. Threads that this
// leaves without work take ranges of queries in the forward pass, of levels in the backward pass.
// No two tasks write the same number and no sum crosses tasks, so the bits do not depend on the
// number of threads.
#pragma once

#include <cstdint>

#include "../msda.h"

namespace ddetr::cpu {

// Points are filled up to whole vectors of the widest kind.
constexpr int64_t kPointUnit = 16;
inline int64_t padded_points(int64_t points) {
  return (points + kPointUnit - 1) / kPointUnit * kPointUnit;
}

// The level of each of the L * P points (and of kPointUnit more that do not exist).
struct PointTable {
  const int32_t* columns;
  const int32_t* lines;
  const int32_t* start;  // first pixel of the point's level
};

// Corners in hand at a time, a power of two: one query is summed while others' rows are fetched.
constexpr int64_t kCornerSets = 4;

// One thread's memory. "Rows" are a pixel's channels, padded to whole vectors.
struct Workspace {
  float* value;             // packed head, with a row of zeros after the last pixel
  float* grad_value;        // packed gradient; a row after the last takes what falls outside
  float* corner_weights;    // 4 a point, and that for each of kCornerSets queries
  int32_t* corner_rows;     // the same: first element of the packed row, or the pixel's index
  int64_t* corner_offsets;  // the same, of unpacked rows
  float* locations;         // 2 a point, for queries that do not fill whole vectors
  float* attention;         // 1 a point, likewise
  float* fractions;         // the same, 3 a point: see Corners
  float* dots;              // 4 a point
  float* grad_points;       // 2 a point for locations, then 1 for weights
  float* row;               // one padded row
  float* zeros;
  float* trash;
};

struct Range {
  int64_t begin, end;
};

// What is copied into contiguous float32 rows, one head at a time. Packed values have a packed
// gradient, in the backward pass.
struct Packing {
  bool value, gradient;
};

struct Task {
  const Inputs* inputs;
  const PointTable* table;
  Workspace workspace;
  int64_t batch;
  Range heads;  // one if any of it is packed
  Range queries, points, pixels;  // points of 0 .. L * P, pixels of 0 .. S
  Packing packing;
};

struct KernelSet {
  const char* name;
  int lanes;  // float32 numbers in a vector
  void (*forward)(const Task& task, void* output);
  void (*backward)(const Task& task, const Gradients& gradients);
  // Queries (of all images) in the range; `space` holds point_space() numbers.
  void (*points)(const PointInputs& inputs, Range queries, float* space, const PointOutputs& to);
  void (*points_backward)(const PointInputs& inputs, Range queries, float* space,
                          const PointBackward& gradients);
};

inline int64_t point_space(const Sizes& sizes) {
  // Five tables of 2 * L * P, and a row of L * P filled up.
  return 6 * padded_points(2 * sizes.levels * sizes.points);
}

// The set in use, and how many threads a call is worth.
const KernelSet& chosen_kernels();
int worth_threads(const Sizes& sizes, int threads);

// Channels of a padded row: whole vectors, a power of two of them up to kMaxVectors.
constexpr int kMaxVectors = 8;
inline int vectors_in_block(int64_t channels, int lanes) {
  const int64_t vectors = (channels + lanes - 1) / lanes;
  return vectors <= 1 ? 1 : vectors <= 2 ? 2 : vectors <= 4 ? 4 : kMaxVectors;
}
inline int64_t padded_channels(int64_t channels, int lanes) {
  const int64_t block = int64_t(vectors_in_block(channels, lanes)) * lanes;
  return (channels + block - 1) / block * block;
}

extern const KernelSet kBaseline;
#if defined(DDETR_X86)
extern const KernelSet kAvx2;
extern const KernelSet kAvx512;
#endif

}  // namespace ddetr::cpu
