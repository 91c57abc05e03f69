// Arrays as Python hands them over, (address, dtype, sizes), and what can be checked of one.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "msda.h"

namespace ddetr {

namespace py = pybind11;

struct Array {
  const char* name;
  uintptr_t address;
  DType dtype;
  std::vector<int64_t> sizes;

  void* data() const { return reinterpret_cast<void*>(address); }
};

inline DType parse_dtype(const char* name, const std::string& dtype) {
  if (dtype == "float32") return DType::kFloat32;
  if (dtype == "float16") return DType::kFloat16;
  if (dtype == "bfloat16") return DType::kBFloat16;
  if (dtype == "float64") return DType::kFloat64;
  throw py::type_error(std::string(name) + " must be float32, float16, bfloat16 or float64, got " +
                       dtype);
}

inline Array parse_array(const char* name, const py::tuple& array) {
  if (array.size() != 3) throw py::type_error(std::string(name) + " must be (address, dtype, sizes)");
  return {name, array[0].cast<uintptr_t>(), parse_dtype(name, array[1].cast<std::string>()),
          array[2].cast<std::vector<int64_t>>()};
}

inline std::string text(const std::vector<int64_t>& sizes) {
  return py::str(py::tuple(py::cast(sizes))).cast<std::string>();
}

inline void require_sizes(const Array& array, const std::vector<int64_t>& sizes) {
  if (array.sizes != sizes) {
    throw py::value_error(std::string(array.name) + " must have the sizes " + text(sizes) +
                          ", got " + text(array.sizes));
  }
}

inline void require_dtype(const Array& array, DType dtype, const char* rule) {
  if (array.dtype != dtype) throw py::type_error(std::string(array.name) + " must be " + rule);
}

// The address of an array with the sizes and the dtype of `model`.
inline void* like(const char* name, const py::tuple& array, const py::tuple& model) {
  const Array parsed = parse_array(name, array), wanted = parse_array(name, model);
  require_sizes(parsed, wanted.sizes);
  require_dtype(parsed, wanted.dtype, "of its input's dtype");
  return parsed.data();
}

}  // namespace ddetr
