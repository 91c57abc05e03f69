// Cuts the queries of all images into ranges and hands them to threads.
#include <algorithm>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "task.h"

namespace ddetr {
namespace {

// Calls run(range, space) for ranges that cover all queries of all images, each query once.
template <typename Run>
void for_each_range(const Sizes& sizes, int threads, Run run) {
  const int64_t queries = sizes.batch * sizes.queries;
  threads = cpu::worth_threads(sizes, threads);
  std::vector<float> space(size_t(cpu::point_space(sizes)) * size_t(threads));
  cpu::for_each_index(threads, threads, [&](int thread) {
    float* own = space.data() + cpu::point_space(sizes) * thread;
    return [&run, queries, threads, own](int64_t part) {
      run(cpu::Range{queries * part / threads, queries * (part + 1) / threads}, own);
    };
  });
}

// Of an array with `numbers` float32 numbers for each sampling point.
size_t point_bytes(const Sizes& sizes, int64_t numbers) {
  const int64_t points =
      sizes.batch * sizes.queries * sizes.heads * sizes.levels * sizes.points;
  return size_t(points * numbers) * sizeof(float);
}

}  // namespace

void points_cpu(const PointInputs& inputs, const PointOutputs& outputs, int threads) {
  cpu::use_huge_pages(outputs.locations, point_bytes(inputs.sizes, 2));
  cpu::use_huge_pages(outputs.weights, point_bytes(inputs.sizes, 1));
  for_each_range(inputs.sizes, threads, [&](cpu::Range queries, float* space) {
    cpu::chosen_kernels().points(inputs, queries, space, outputs);
  });
}

void points_backward_cpu(const PointInputs& inputs, const PointBackward& gradients, int threads) {
  cpu::use_huge_pages(gradients.offsets, point_bytes(inputs.sizes, 2));
  cpu::use_huge_pages(gradients.logits, point_bytes(inputs.sizes, 1));
  for_each_range(inputs.sizes, threads, [&](cpu::Range queries, float* space) {
    cpu::chosen_kernels().points_backward(inputs, queries, space, gradients);
  });
}

}  // namespace ddetr
