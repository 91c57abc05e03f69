// Python's door to the kernels. Arrays arrive as (address, dtype, sizes); everything that an address
// cannot tell is checked here, and the GIL is released while a kernel runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "msda.h"
#if defined(DDETR_CUDA)
#include "cuda/launch.h"
#endif

namespace py = pybind11;

namespace ddetr {
namespace {

struct Array {
  const char* name;
  uintptr_t address;
  DType dtype;
  std::vector<int64_t> sizes;

  void* data() const { return reinterpret_cast<void*>(address); }
};

DType parse_dtype(const char* name, const std::string& dtype) {
  if (dtype == "float32") return DType::kFloat32;
  if (dtype == "float16") return DType::kFloat16;
  if (dtype == "bfloat16") return DType::kBFloat16;
  if (dtype == "float64") return DType::kFloat64;
  throw py::type_error(std::string(name) + " must be float32, float16, bfloat16 or float64, got " +
                       dtype);
}

Array parse_array(const char* name, const py::tuple& array) {
  if (array.size() != 3) throw py::type_error(std::string(name) + " must be (address, dtype, sizes)");
  return {name, array[0].cast<uintptr_t>(), parse_dtype(name, array[1].cast<std::string>()),
          array[2].cast<std::vector<int64_t>>()};
}

std::string text(const std::vector<int64_t>& sizes) {
  return py::str(py::tuple(py::cast(sizes))).cast<std::string>();
}

void require_sizes(const Array& array, const std::vector<int64_t>& sizes) {
  if (array.sizes != sizes) {
    throw py::value_error(std::string(array.name) + " must have the sizes " + text(sizes) +
                          ", got " + text(array.sizes));
  }
}

void require_dtype(const Array& array, DType dtype, const char* rule) {
  if (array.dtype != dtype) throw py::type_error(std::string(array.name) + " must be " + rule);
}

// Checks value, locations and weights against each other and gives the operator's sizes.
Sizes check_sizes(const Array& value, const Array& locations, const Array& weights) {
  if (value.sizes.size() != 4) throw py::value_error("value must be (B, S, M, D)");
  if (locations.sizes.size() != 6) {
    throw py::value_error("sampling_locations must be (B, Q, M, L, P, 2)");
  }
  const Sizes sizes = {value.sizes[0],     value.sizes[1],     value.sizes[2],    value.sizes[3],
                       locations.sizes[3], locations.sizes[1], locations.sizes[4]};
  require_sizes(locations,
                {sizes.batch, sizes.queries, sizes.heads, sizes.levels, sizes.points, 2});
  require_sizes(weights, {sizes.batch, sizes.queries, sizes.heads, sizes.levels, sizes.points});
  const DType wide = value.dtype == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32;
  const char* rule = "float32, or float64 if value is";
  require_dtype(locations, wide, rule);
  require_dtype(weights, wide, rule);
  return sizes;
}

using LevelList = std::vector<std::pair<int64_t, int64_t>>;

// The levels must lie one after the other and make up all of value's pixels.
std::vector<Level> check_levels(const LevelList& shapes, const std::vector<int64_t>& starts,
                                const Sizes& sizes) {
  if (int64_t(shapes.size()) != sizes.levels || int64_t(starts.size()) != sizes.levels) {
    throw py::value_error("spatial_shapes and level_start_index must have one entry for each of " +
                          std::to_string(sizes.levels) + " levels");
  }
  std::vector<Level> levels;
  int64_t next = 0;
  for (size_t index = 0; index < shapes.size(); ++index) {
    const auto [height, width] = shapes[index];
    if (height < 1 || width < 1 || height > sizes.pixels || width > sizes.pixels) {
      throw py::value_error("spatial_shapes[" + std::to_string(index) + "] is " +
                            text({height, width}) + ", which value's " +
                            std::to_string(sizes.pixels) + " pixels cannot hold");
    }
    if (starts[index] != next) {
      throw py::value_error("level_start_index[" + std::to_string(index) + "] must be " +
                            std::to_string(next) + ", got " + std::to_string(starts[index]));
    }
    levels.push_back({height, width, next});
    next += height * width;
  }
  if (next != sizes.pixels) {
    throw py::value_error("value has " + std::to_string(sizes.pixels) +
                          " pixels an image, but spatial_shapes make " + std::to_string(next));
  }
  return levels;
}

struct Call {
  Inputs inputs;
  std::vector<Level> levels;

  // With the levels on a device, where nobody may wait for them: the kernels stay inside value.
  Call(const py::tuple& value, const py::tuple& locations, const py::tuple& weights) {
    const Array values = parse_array("value", value);
    const Array places = parse_array("sampling_locations", locations);
    const Array shares = parse_array("attention_weights", weights);
    const Sizes sizes = check_sizes(values, places, shares);
    inputs = {sizes, values.dtype, nullptr, values.data(), places.data(), shares.data()};
  }

  Call(const py::tuple& value, const LevelList& shapes, const std::vector<int64_t>& starts,
       const py::tuple& locations, const py::tuple& weights)
      : Call(value, locations, weights) {
    levels = check_levels(shapes, starts, inputs.sizes);
    inputs.levels = levels.data();
  }

  // Output or its gradient: (B, Q, M * D) in value's dtype.
  void* output(const char* name, const py::tuple& array) const {
    const Array parsed = parse_array(name, array);
    const Sizes& sizes = inputs.sizes;
    require_sizes(parsed, {sizes.batch, sizes.queries, sizes.heads * sizes.channels});
    require_dtype(parsed, inputs.dtype, "of value's dtype");
    return parsed.data();
  }

  bool empty() const {
    const Sizes& sizes = inputs.sizes;
    return sizes.batch * sizes.queries * sizes.heads * sizes.channels * sizes.levels *
               sizes.points ==
           0;
  }
};

void* like(const char* name, const py::tuple& array, const py::tuple& model) {
  const Array parsed = parse_array(name, array), wanted = parse_array(name, model);
  require_sizes(parsed, wanted.sizes);
  require_dtype(parsed, wanted.dtype, "of its input's dtype");
  return parsed.data();
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

#if defined(DDETR_CUDA)
CudaCall cuda_call(const Call& call, uintptr_t shapes, uintptr_t starts, int device,
                   uintptr_t stream) {
  if (call.inputs.dtype == DType::kFloat64) {
    throw py::type_error("the CUDA kernels take float32, float16 and bfloat16, not float64");
  }
  return {device, reinterpret_cast<void*>(stream), reinterpret_cast<const int64_t*>(shapes),
          reinterpret_cast<const int64_t*>(starts)};
}

void forward_on_cuda(const py::tuple& value, uintptr_t shapes, uintptr_t starts,
                     const py::tuple& locations, const py::tuple& weights,
                     const py::tuple& output, int device, uintptr_t stream) {
  const Call call(value, locations, weights);
  const CudaCall where = cuda_call(call, shapes, starts, device, stream);
  void* to = call.output("output", output);
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  forward_cuda(call.inputs, where, to);
}

void backward_on_cuda(const py::tuple& grad_output, const py::tuple& value, uintptr_t shapes,
                      uintptr_t starts, const py::tuple& locations, const py::tuple& weights,
                      const py::tuple& grad_value, const py::tuple& grad_locations,
                      const py::tuple& grad_weights, int device, uintptr_t stream,
                      bool deterministic) {
  const Call call(value, locations, weights);
  const CudaCall where = cuda_call(call, shapes, starts, device, stream);
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
  module.doc() = "Kernels of multi-scale deformable attention on raw memory; see operator.py.";
  module.def("forward", &ddetr::forward);
  module.def("backward", &ddetr::backward);
  module.def("instruction_set", &ddetr::instruction_set);
  module.def("use_instruction_set", &ddetr::use_instruction_set);
#if defined(DDETR_CUDA)
  module.def("forward_cuda", &ddetr::forward_on_cuda);
  module.def("backward_cuda", &ddetr::backward_on_cuda);
  module.def("cuda_problem", &ddetr::cuda_problem);
#endif
}
