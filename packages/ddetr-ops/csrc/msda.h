// Multi-scale deformable attention on raw memory: what the kernels take and who provides them.
//
// B images, S pixels of all levels together, Q queries, M heads, D channels a head,
// L feature levels, P sampling points a level. Every array is contiguous. Nothing here is checked:
// bindings.cpp does that before it calls.
#pragma once

#include <cstdint>

namespace ddetr {

enum class DType { kFloat32, kFloat16, kBFloat16, kFloat64 };

struct Sizes {
  int64_t batch, pixels, heads, channels, levels, queries, points;
};

struct Level {
  int64_t height, width, start;
};

// The operator's input. Locations and weights are float32, or float64 if value is.
struct Inputs {
  Sizes sizes;
  DType dtype;            // of value, output and grad_output
  const Level* levels;    // (L,) on the host; null for CUDA
  const void* value;      // (B, S, M, D)
  const void* locations;  // (B, Q, M, L, P, 2), x then y
  const void* weights;    // (B, Q, M, L, P)
};

struct Gradients {
  const void* output;  // (B, Q, M, D), what arrives
  void* value;         // as Inputs::value; all three are overwritten
  void* locations;     // as Inputs::locations
  void* weights;       // as Inputs::weights
};

void forward_cpu(const Inputs& inputs, void* output, int threads);
void backward_cpu(const Inputs& inputs, const Gradients& gradients, int threads);

// What the attention layer computes in front of the operator, everything float32: locations from
// offsets, weights from logits.
struct PointInputs {
  Sizes sizes;             // pixels and channels do not matter
  int64_t coordinates;     // 2 (x, y) or 4 (center x, center y, width, height)
  const Level* levels;     // (L,)
  const float* references; // (B, Q, L, 2 or 4)
  const float* offsets;    // (B, Q, M, L, P, 2), pixels, or P-ths of half a box
  const float* logits;     // (B, Q, M, L * P); null in the backward pass
};

struct PointOutputs {
  float* locations;  // (B, Q, M, L, P, 2)
  float* weights;    // (B, Q, M, L * P)
};

struct PointBackward {
  const float* locations;  // (B, Q, M, L, P, 2), what arrives
  const float* weights;    // (B, Q, M, L * P), likewise
  const float* softmax;    // (B, Q, M, L * P), the weights of the forward pass
  float* references;       // as the inputs; all three are overwritten
  float* offsets;
  float* logits;
};

void points_cpu(const PointInputs& inputs, const PointOutputs& outputs, int threads);
void points_backward_cpu(const PointInputs& inputs, const PointBackward& gradients, int threads);

// The instruction set that the float32 and 16-bit kernels run on: "avx512", "avx2" or "baseline".
const char* instruction_set();
// Choose another one; false if this processor or this build lacks it.
bool use_instruction_set(const char* name);

}  // namespace ddetr
