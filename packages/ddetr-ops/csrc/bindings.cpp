// Python's door to the kernels. Arrays arrive as (address, dtype, sizes); everything that an address
// cannot tell is checked here, and the GIL is released while a kernel runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "arrays.h"
#include "call.h"
#include "cpu/parallel.h"
#include "direct.h"
#include "msda.h"
#if defined(DDETR_CUDA)
#include "cuda/launch.h"
#endif

namespace py = pybind11;

namespace ddetr {
namespace {

// The sizes of what lies in front of the operator; it knows neither pixels nor channels.
PointInputs check_points(const Array& references, const Array& offsets) {
  if (offsets.sizes.size() != 6) {
    throw py::value_error("sampling_offsets must be (B, Q, M, L, P, 2)");
  }
  const Sizes sizes = {offsets.sizes[0], 0,
                       offsets.sizes[2], 0,
                       offsets.sizes[3], offsets.sizes[1],
                       offsets.sizes[4]};
  require_sizes(offsets, {sizes.batch, sizes.queries, sizes.heads, sizes.levels, sizes.points, 2});
  const int64_t coordinates = references.sizes.empty() ? 0 : references.sizes.back();
  if (coordinates != 2 && coordinates != 4) {
    throw py::value_error("reference_points must end in 2 (x, y) or 4 (cx, cy, w, h), got " +
                          text(references.sizes));
  }
  require_sizes(references, {sizes.batch, sizes.queries, sizes.levels, coordinates});
  for (const Array& array : {references, offsets}) {
    require_dtype(array, DType::kFloat32, "float32");
  }
  return {sizes, coordinates, nullptr, static_cast<const float*>(references.data()),
          static_cast<const float*>(offsets.data()), nullptr};
}

void forward(const py::tuple& value, const LevelList& shapes, const std::vector<int64_t>& starts,
             const py::tuple& locations, const py::tuple& weights, const py::tuple& output,
             int threads) {
  const Call call(value, shapes, starts, locations, weights);
  void* to = call.output("output", output);
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  forward_cpu(call.inputs, to, threads);
}

void backward(const py::tuple& grad_output, const py::tuple& value, const LevelList& shapes,
              const std::vector<int64_t>& starts, const py::tuple& locations,
              const py::tuple& weights, const py::tuple& grad_value,
              const py::tuple& grad_locations, const py::tuple& grad_weights, int threads) {
  const Call call(value, shapes, starts, locations, weights);
  const Gradients gradients = {
      call.output("grad_output", grad_output), like("grad_value", grad_value, value),
      like("grad_sampling_locations", grad_locations, locations),
      like("grad_attention_weights", grad_weights, weights)};
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  backward_cpu(call.inputs, gradients, threads);
}

struct PointCall {
  PointInputs inputs;
  std::vector<Level> levels;
  std::vector<int64_t> weight_sizes;  // (B, Q, M, L, P)

  PointCall(const py::tuple& references, const py::tuple& offsets, const LevelList& shapes) {
    inputs = check_points(parse_array("reference_points", references),
                          parse_array("sampling_offsets", offsets));
    const Sizes& sizes = inputs.sizes;
    if (int64_t(shapes.size()) != sizes.levels) {
      throw py::value_error("spatial_shapes must have one entry for each of " +
                            std::to_string(sizes.levels) + " levels");
    }
    for (const auto& [height, width] : shapes) {
      if (height < 1 || width < 1) throw py::value_error("spatial_shapes must be positive");
      levels.push_back({height, width, 0});
    }
    inputs.levels = levels.data();
    weight_sizes = {sizes.batch, sizes.queries, sizes.heads, sizes.levels, sizes.points};
  }

  // Logits or weights, or a gradient of these.
  float* weights(const char* name, const py::tuple& array) const {
    const Array parsed = parse_array(name, array);
    require_sizes(parsed, weight_sizes);
    require_dtype(parsed, DType::kFloat32, "float32");
    return static_cast<float*>(parsed.data());
  }

  bool empty() const {
    const Sizes& sizes = inputs.sizes;
    return sizes.batch * sizes.queries * sizes.heads * sizes.levels * sizes.points == 0;
  }
};

void points(const py::tuple& references, const py::tuple& offsets, const py::tuple& logits,
            const LevelList& shapes, const py::tuple& locations, const py::tuple& weights,
            int threads) {
  PointCall call(references, offsets, shapes);
  call.inputs.logits = call.weights("attention_logits", logits);
  const PointOutputs outputs = {
      static_cast<float*>(like("sampling_locations", locations, offsets)),
      call.weights("attention_weights", weights)};
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  points_cpu(call.inputs, outputs, threads);
}

void points_backward(const py::tuple& grad_locations, const py::tuple& grad_weights,
                     const py::tuple& references, const py::tuple& offsets,
                     const py::tuple& weights, const LevelList& shapes,
                     const py::tuple& grad_references, const py::tuple& grad_offsets,
                     const py::tuple& grad_logits, int threads) {
  const PointCall call(references, offsets, shapes);
  const PointBackward gradients = {
      static_cast<float*>(like("grad_sampling_locations", grad_locations, offsets)),
      call.weights("grad_attention_weights", grad_weights),
      call.weights("attention_weights", weights),
      static_cast<float*>(like("grad_reference_points", grad_references, references)),
      static_cast<float*>(like("grad_sampling_offsets", grad_offsets, offsets)),
      call.weights("grad_attention_logits", grad_logits)};
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  points_backward_cpu(call.inputs, gradients, threads);
}

#if defined(DDETR_CUDA)
CudaCall cuda_call(const Call& call, uintptr_t shapes, uintptr_t starts, int device,
                   uintptr_t stream, bool tiles) {
  if (call.inputs.dtype == DType::kFloat64) {
    throw py::type_error("the CUDA kernels take float32, float16 and bfloat16, not float64");
  }
  const Sizes& sizes = call.inputs.sizes;
  if (sizes.pixels > INT32_MAX || sizes.levels * sizes.points > INT32_MAX) {
    throw py::value_error("the CUDA kernels count pixels, and points of a query, up to 2^31 - 1");
  }
  return {device, reinterpret_cast<void*>(stream), reinterpret_cast<const int64_t*>(shapes),
          reinterpret_cast<const int64_t*>(starts), tiles};
}

void forward_on_cuda(const py::tuple& value, uintptr_t shapes, uintptr_t starts,
                     const py::tuple& locations, const py::tuple& weights,
                     const py::tuple& output, int device, uintptr_t stream, bool tiles) {
  const Call call(value, locations, weights);
  const CudaCall where = cuda_call(call, shapes, starts, device, stream, tiles);
  void* to = call.output("output", output);
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  forward_cuda(call.inputs, where, to);
}

void backward_on_cuda(const py::tuple& grad_output, const py::tuple& value, uintptr_t shapes,
                      uintptr_t starts, const py::tuple& locations, const py::tuple& weights,
                      const py::tuple& grad_value, const py::tuple& grad_locations,
                      const py::tuple& grad_weights, int device, uintptr_t stream, bool tiles,
                      bool deterministic) {
  const Call call(value, locations, weights);
  const CudaCall where = cuda_call(call, shapes, starts, device, stream, tiles);
  const py::tuple sums = py::make_tuple(value[0], "float32", value[2]);
  const Gradients gradients = {
      call.output("grad_output", grad_output), like("grad_value", grad_value, sums),
      like("grad_sampling_locations", grad_locations, locations),
      like("grad_attention_weights", grad_weights, weights)};
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  backward_cuda(call.inputs, where, gradients, deterministic);
}
#endif

}  // namespace
}  // namespace ddetr

PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  module.doc() = "Kernels of multi-scale deformable attention on raw memory; see _operator.py.";
  module.def("forward", &ddetr::forward);
  ddetr::add_direct_calls(module);
  module.def("backward", &ddetr::backward);
  module.def("points", &ddetr::points);
  module.def("points_backward", &ddetr::points_backward);
  module.def("instruction_set", &ddetr::instruction_set);
  module.def("use_instruction_set", &ddetr::use_instruction_set);
  module.def("has_threads", &ddetr::cpu::has_threads);
#if defined(DDETR_CUDA)
  module.def("forward_cuda", &ddetr::forward_on_cuda);
  module.def("backward_cuda", &ddetr::backward_on_cuda);
  module.def("cuda_problem", &ddetr::cuda_problem);
  module.def("cuda_versions", [] {
    const ddetr::CudaVersions found = ddetr::cuda_versions();
    return py::make_tuple(found.runtime, found.driver, found.oldest_architecture);
  });
#endif
}
