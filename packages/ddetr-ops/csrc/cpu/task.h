// What one thread does in one go, and the kernels of one instruction set.
//
// A task owns one head of one image (and, with more threads than heads, a range of queries in the
// forward pass, of levels in the backward pass). No two tasks write the same number and no sum
// crosses tasks, so the bits do not depend on the number of threads.
#pragma once

#include <cstdint>

#include "../msda.h"

namespace ddetr::cpu {

// The level of each of the L * P points, spread out so that a loop over points vectorises.
struct PointTable {
  const float* width;
  const float* height;
  const int32_t* columns;
  const int32_t* lines;
  const int32_t* start;  // first pixel of the point's level
};

// One thread's memory. "Rows" are a pixel's channels, padded to whole vectors.
struct Workspace {
  float* value;             // packed head, with a row of zeros after the last pixel
  float* grad_value;        // the same for its gradient; the last row takes what falls outside
  float* corner_weights;    // 2 sets of 4 a point, filled up to whole vectors
  int64_t* corner_offsets;  // the same; read as int32_t when packed
  float* fraction_x;        // one a point
  float* fraction_y;
  float* weights;
  float* dots;  // 4 a point filled up, then 3 a point
  float* row;   // one padded row
  float* zeros;
  float* trash;
};

struct Range {
  int64_t begin, end;
};

struct Task {
  const Inputs* inputs;
  const PointTable* table;
  Workspace workspace;
  int64_t batch, head;
  Range queries, points, pixels;  // points of 0 .. L * P, pixels of 0 .. S
  bool packed;                    // copy the head into contiguous float32 rows first
};

struct KernelSet {
  const char* name;
  int lanes;  // float32 numbers in a vector
  void (*forward)(const Task& task, void* output);
  void (*backward)(const Task& task, const Gradients& gradients);
};

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
