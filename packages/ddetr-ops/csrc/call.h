// The operator's arguments, checked against each other.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arrays.h"

namespace ddetr {

using LevelList = std::vector<std::pair<int64_t, int64_t>>;

// Checks value, locations and weights against each other and gives the operator's sizes.
inline Sizes check_sizes(const Array& value, const Array& locations, const Array& weights) {
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

// The levels must lie one after the other and make up all of value's pixels.
inline std::vector<Level> check_levels(const LevelList& shapes,
                                       const std::vector<int64_t>& starts, const Sizes& sizes) {
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

  // Of the output or its gradient: (B, Q, M * D).
  std::vector<int64_t> output_sizes() const {
    const Sizes& sizes = inputs.sizes;
    return {sizes.batch, sizes.queries, sizes.heads * sizes.channels};
  }

  bool is_output(const Array& array) const {
    return array.sizes == output_sizes() && array.dtype == inputs.dtype;
  }

  void* output(const char* name, const py::tuple& array) const {
    const Array parsed = parse_array(name, array);
    require_sizes(parsed, output_sizes());
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

}  // namespace ddetr
