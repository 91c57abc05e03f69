// Python's door to the kernels. Arrays arrive as (address, dtype, sizes); everything that an address
// cannot tell is checked here, and the GIL is released while a kernel runs.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "arrays.h"
#include "msda.h"
#include "tensors.h"
#if defined(DDETR_CUDA)
#include "cuda/launch.h"
#endif

namespace py = pybind11;

namespace ddetr {
namespace {

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
  Call(const Array& value, const Array& locations, const Array& weights) {
    const Sizes sizes = check_sizes(value, locations, weights);
    inputs = {sizes, value.dtype, nullptr, value.data(), locations.data(), weights.data()};
  }

  Call(const py::tuple& value, const py::tuple& locations, const py::tuple& weights)
      : Call(parse_array("value", value), parse_array("sampling_locations", locations),
             parse_array("attention_weights", weights)) {}

  template <typename Given>
  Call(const Given& value, const LevelList& shapes, const std::vector<int64_t>& starts,
       const Given& locations, const Given& weights)
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

void forward(const py::tuple& value, const LevelList& shapes, const std::vector<int64_t>& starts,
             const py::tuple& locations, const py::tuple& weights, const py::tuple& output,
             int threads) {
  const Call call(value, shapes, starts, locations, weights);
  void* to = call.output("output", output);
  if (call.empty()) return;
  py::gil_scoped_release unlocked;
  forward_cpu(call.inputs, to, threads);
}

TensorReader tensors;

bool read_tensors_of(const py::object& tensor_class, const py::object& parameter_class) {
  return tensors.open(tensor_class, parameter_class);
}

std::optional<Array> read_floats(const char* name, const py::object& object) {
  const std::optional<DlTensor> tensor = tensors.read(object);
  const std::optional<DType> dtype = tensor ? float_type(*tensor) : std::nullopt;
  // PyTorch negates lazily: what lies in memory may be the negatives of the tensor's numbers.
  if (!dtype || object.attr("is_neg")().cast<bool>()) return {};
  return Array{name, reinterpret_cast<uintptr_t>(tensor->data), *dtype,
               {tensor->sizes, tensor->sizes + tensor->dimensions}};
}

std::optional<LevelList> read_shapes(const py::object& object) {
  const std::optional<DlTensor> tensor = tensors.read(object);
  if (!tensor || !holds_int64(*tensor) || tensor->dimensions != 2 || tensor->sizes[1] != 2) {
    return {};
  }
  const auto* numbers = static_cast<const int64_t*>(tensor->data);
  LevelList shapes;
  for (int64_t i = 0; i < tensor->sizes[0]; ++i) {
    shapes.emplace_back(numbers[2 * i], numbers[2 * i + 1]);
  }
  return shapes;
}

std::optional<std::vector<int64_t>> read_starts(const py::object& object) {
  const std::optional<DlTensor> tensor = tensors.read(object);
  if (!tensor || !holds_int64(*tensor) || tensor->dimensions != 1) return {};
  const auto* numbers = static_cast<const int64_t*>(tensor->data);
  return std::vector<int64_t>(numbers, numbers + tensor->sizes[0]);
}

std::optional<Call> read_call(const py::object& value, const py::object& shapes,
                              const py::object& starts, const py::object& locations,
                              const py::object& weights) {
  const auto values = read_floats("value", value);
  const auto places = read_floats("sampling_locations", locations);
  const auto shares = read_floats("attention_weights", weights);
  const auto levels = read_shapes(shapes);
  const auto first_pixels = read_starts(starts);
  if (!values || !places || !shares || !levels || !first_pixels) return {};
  try {
    return std::optional<Call>(std::in_place, *values, *levels, *first_pixels, *places, *shares);
  } catch (const py::builtin_exception&) {
    return {};
  }
}

// The output of a call whose tensors all can be read in place, and agree. None for any other call:
// it may be right in a way that needs PyTorch, or wrong in a way that Python has words for.
py::object forward_tensors(const py::object& value, const py::object& shapes,
                           const py::object& starts, const py::object& locations,
                           const py::object& weights, int threads) {
  const std::optional<Call> call = read_call(value, shapes, starts, locations, weights);
  if (!call) return py::none();
  const Sizes& sizes = call->inputs.sizes;
  py::object output = value.attr("new_empty")(
      py::make_tuple(sizes.batch, sizes.queries, sizes.heads * sizes.channels));
  const std::optional<DlTensor> to = tensors.read(output);
  if (!to) return py::none();
  {
    py::gil_scoped_release unlocked;
    forward_cpu(call->inputs, to->data, threads);
  }
  return output;
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
  module.doc() = "Kernels of multi-scale deformable attention on raw memory; see operator.py.";
  module.def("forward", &ddetr::forward);
  module.def("read_tensors_of", &ddetr::read_tensors_of);
  module.def("forward_tensors", &ddetr::forward_tensors);
  module.def("backward", &ddetr::backward);
  module.def("points", &ddetr::points);
  module.def("points_backward", &ddetr::points_backward);
  module.def("instruction_set", &ddetr::instruction_set);
  module.def("use_instruction_set", &ddetr::use_instruction_set);
#if defined(DDETR_CUDA)
  module.def("forward_cuda", &ddetr::forward_on_cuda);
  module.def("backward_cuda", &ddetr::backward_on_cuda);
  module.def("cuda_problem", &ddetr::cuda_problem);
#endif
}
