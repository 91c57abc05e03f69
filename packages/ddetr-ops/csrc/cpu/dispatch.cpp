// Chooses the instruction set, cuts a call into tasks and hands them to threads.
#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "processor.h"
#include "scalar.h"
#include "task.h"

namespace ddetr {
namespace cpu {
namespace {

constexpr int64_t kPointsWorthThreads = 16384;
// Packing costs about as much as six samples of every pixel.
constexpr int64_t kQueriesWorthPacking = 6;

const KernelSet* supported(const char* name) {
#if defined(DDETR_X86)
  const Processor here = this_processor();
  if (!std::strcmp(name, kAvx512.name)) return here.avx512 ? &kAvx512 : nullptr;
  if (!std::strcmp(name, kAvx2.name)) return here.avx2 ? &kAvx2 : nullptr;
#endif
  return std::strcmp(name, kBaseline.name) ? nullptr : &kBaseline;
}

const KernelSet* best() {
  for (const char* name : {"avx512", "avx2"}) {
    if (const KernelSet* found = supported(name)) return found;
  }
  return &kBaseline;
}

const KernelSet* kernels = best();

// The sizes of one thread's workspace, and the level of every point.
class Plan {
 public:
  Plan(const Inputs& inputs, bool backward) : sizes_(inputs.sizes) {
    padded_ = padded_channels(sizes_.channels, kernels->lanes);
    // Widening float16 takes many operations; gradients of 16 bits are summed in float32.
    packing.value = inputs.dtype == DType::kFloat16 || padded_ != sizes_.channels ||
                    kQueriesWorthPacking * sizes_.queries >= sizes_.pixels;
    packing.gradient = backward && (packing.value || inputs.dtype != DType::kFloat32);
    if (packing.value && (sizes_.pixels + 1) * padded_ > std::numeric_limits<int32_t>::max()) {
      throw std::length_error("one head of value has more than 2^31 numbers: split the levels");
    }
    for (int64_t level = 0; level < sizes_.levels; ++level) {
      append(inputs.levels[level], size_t(sizes_.points));
    }
    append({1, 1, 0}, kPointUnit);
  }

  PointTable table() const {
    return {columns_.data(), lines_.data(), starts_.data()};
  }

  // Carves a thread's workspace out of `memory`, or only measures it if that is null.
  size_t carve(float* memory, Workspace* workspace) const {
    size_t used = 0;
    const auto take = [&](int64_t floats) {
      float* taken = memory ? memory + used : nullptr;
      used += (size_t(floats) + 15) / 16 * 16;
      return taken;
    };
    const int64_t points = padded_points(sizes_.levels * sizes_.points);
    const int64_t head = (sizes_.pixels + 1) * padded_;
    *workspace = {};
    workspace->value = take(packing.value ? head : 0);
    workspace->grad_value = take(packing.gradient ? head : 0);
    workspace->corner_weights = take(4 * kCornerSets * points);
    workspace->corner_rows = reinterpret_cast<int32_t*>(take(4 * kCornerSets * points));
    const int64_t offsets = packing.value ? 0 : 8 * kCornerSets * points;
    workspace->corner_offsets = reinterpret_cast<int64_t*>(take(offsets));
    workspace->locations = take(2 * points);
    workspace->attention = take(points);
    workspace->fractions = take(3 * kCornerSets * points);
    workspace->dots = take(4 * points);
    workspace->grad_points = take(3 * points);
    workspace->row = take(padded_);
    workspace->zeros = take(padded_);
    workspace->trash = take(padded_);
    if (memory) {
      std::fill_n(workspace->row, padded_, 0.0f);
      std::fill_n(workspace->zeros, padded_, 0.0f);
      std::fill_n(workspace->trash, padded_, 0.0f);
    }
    return used;
  }

  Packing packing;

 private:
  void append(const Level& level, size_t points) {
    columns_.insert(columns_.end(), points, int32_t(level.width));
    lines_.insert(lines_.end(), points, int32_t(level.height));
    starts_.insert(starts_.end(), points, int32_t(level.start));
  }

  Sizes sizes_;
  int64_t padded_;
  std::vector<int32_t> columns_, lines_, starts_;
};

// How a call is cut: every image into groups of heads, every group into parts.
struct Cut {
  int64_t groups, parts;
};

// How many parts each of `all` is cut into so that every thread has work.
int64_t parts_for(int64_t all, int threads, int64_t most) {
  return std::min<int64_t>(most, (threads + all - 1) / all);
}

// Runs run(task) for all heads and parts; narrow(task, part) cuts a task to the part.
template <typename Narrow, typename Run>
void run_tasks(const Inputs& inputs, const Plan& plan, int threads, Cut cut, Narrow narrow,
               Run run) {
  const Sizes& sizes = inputs.sizes;
  const PointTable table = plan.table();
  const int64_t tasks = sizes.batch * cut.groups * cut.parts;
  Workspace measured;
  const size_t floats = plan.carve(nullptr, &measured);
  float* memory = static_cast<float*>(scratch(floats * size_t(threads) * sizeof(float)));
  for_each_index(tasks, threads, [&](int thread) {
    Task task = {};
    task.inputs = &inputs;
    task.table = &table;
    task.packing = plan.packing;
    plan.carve(memory + floats * size_t(thread), &task.workspace);
    return [=, &sizes, &narrow, &run](int64_t index) mutable {
      const int64_t group = index / cut.parts % cut.groups;
      task.batch = index / cut.parts / cut.groups;
      task.heads = {sizes.heads * group / cut.groups, sizes.heads * (group + 1) / cut.groups};
      task.queries = {0, sizes.queries};
      task.points = {0, sizes.levels * sizes.points};
      task.pixels = {0, sizes.pixels};
      narrow(task, index % cut.parts);
      run(task);
    };
  });
}

size_t value_bytes(const Inputs& inputs) {
  const Sizes& sizes = inputs.sizes;
  const size_t item = inputs.dtype == DType::kFloat32 ? 4 : 2;
  return size_t(sizes.batch * sizes.pixels * sizes.heads * sizes.channels) * item;
}

// Page faults included, this takes as long as a decoder's sums: every thread clears a part.
void clear(void* memory, size_t bytes, int threads) {
  constexpr size_t kChunk = size_t(2) << 20;
  const int64_t chunks = int64_t((bytes + kChunk - 1) / kChunk);
  for_each_index(chunks, threads, [=](int) {
    return [=](int64_t chunk) {
      const size_t first = size_t(chunk) * kChunk;
      std::memset(static_cast<char*>(memory) + first, 0, std::min(kChunk, bytes - first));
    };
  });
}

void prepare_gradients(const Inputs& inputs, const Gradients& gradients, bool is_packed,
                       int threads) {
  const Sizes& sizes = inputs.sizes;
  const size_t points =
      size_t(sizes.batch * sizes.queries * sizes.heads * sizes.levels * sizes.points);
  use_huge_pages(gradients.value, value_bytes(inputs));
  use_huge_pages(gradients.locations, points * 2 * sizeof(float));
  use_huge_pages(gradients.weights, points * sizeof(float));
  if (!is_packed) clear(gradients.value, value_bytes(inputs), threads);
}

}  // namespace

const KernelSet& chosen_kernels() { return *kernels; }

int worth_threads(const Sizes& sizes, int threads) {
  const int64_t points =
      sizes.batch * sizes.queries * sizes.heads * sizes.levels * sizes.points;
  return points < kPointsWorthThreads ? 1 : std::max(threads, 1);
}

}  // namespace cpu

void forward_cpu(const Inputs& inputs, void* output, int threads) {
  const Sizes& sizes = inputs.sizes;
  threads = cpu::worth_threads(sizes, threads);
  if (inputs.dtype == DType::kFloat64) return cpu::forward_double(inputs, output, threads);
  const size_t item = inputs.dtype == DType::kFloat32 ? 4 : 2;
  const size_t rows = size_t(sizes.batch * sizes.queries * sizes.heads);
  cpu::use_huge_pages(output, rows * size_t(sizes.channels) * item);
  const cpu::Plan plan(inputs, false);
  const int64_t groups = plan.packing.value ? sizes.heads : 1;
  const int64_t parts = cpu::parts_for(sizes.batch * groups, threads, sizes.queries);
  cpu::run_tasks(
      inputs, plan, threads, {groups, parts},
      [&](cpu::Task& task, int64_t part) {
        task.queries = {sizes.queries * part / parts, sizes.queries * (part + 1) / parts};
      },
      [&](const cpu::Task& task) { cpu::kernels->forward(task, output); });
}

void backward_cpu(const Inputs& inputs, const Gradients& gradients, int threads) {
  const Sizes& sizes = inputs.sizes;
  threads = cpu::worth_threads(sizes, threads);
  if (inputs.dtype == DType::kFloat64) return cpu::backward_double(inputs, gradients, threads);
  const cpu::Plan plan(inputs, true);
  cpu::prepare_gradients(inputs, gradients, plan.packing.gradient, threads);
  const int64_t groups =
      plan.packing.gradient ? sizes.heads : cpu::parts_for(sizes.batch, threads, sizes.heads);
  const int64_t parts = cpu::parts_for(sizes.batch * groups, threads, sizes.levels);
  cpu::run_tasks(
      inputs, plan, threads, {groups, parts},
      [&](cpu::Task& task, int64_t part) {
        const int64_t first = sizes.levels * part / parts;
        const int64_t last = sizes.levels * (part + 1) / parts;
        task.points = {first * sizes.points, last * sizes.points};
        task.pixels = {inputs.levels[first].start,
                       last < sizes.levels ? inputs.levels[last].start : sizes.pixels};
      },
      [&](const cpu::Task& task) { cpu::kernels->backward(task, gradients); });
}

const char* instruction_set() { return cpu::kernels->name; }

bool use_instruction_set(const char* name) {
  const cpu::KernelSet* found = cpu::supported(name);
  if (found) cpu::kernels = found;
  return found != nullptr;
}

}  // namespace ddetr
