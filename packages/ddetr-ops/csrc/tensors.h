// PyTorch's tensors read where they are. Since DLPack 1.2 a tensor class publishes a table of C
// functions; through it a tensor costs no Python call. Layouts: DLTensor and DLPackExchangeAPI of
// https://dmlc.github.io/dlpack/latest/c_api.html, here only as far as they are used.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <vector>

#include "arrays.h"

namespace ddetr {

struct DlTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t dimensions;
  uint8_t type_code, type_bits;
  uint16_t type_lanes;
  const int64_t* sizes;
  const int64_t* strides;  // null if contiguous
  uint64_t byte_offset;
};

constexpr int32_t kDlCpu = 1;
constexpr uint8_t kDlInt = 0, kDlFloat = 2, kDlBFloat = 4;
constexpr uint32_t kDlMajor = 1;

struct DlExchange {
  uint32_t major, minor;
  void* older_table;
  void* allocate;
  void* owner_from_object;
  void* object_from_owner;
  int (*tensor_from_object)(void* object, DlTensor* tensor);  // 0 if it could; may be null
  void* stream;
};

// The exact classes that are read, for a subclass may mean something else by its memory.
class TensorReader {
 public:
  // Whether `tensor_class` has a table that this code knows.
  bool open(const py::handle& tensor_class, const py::handle& parameter_class) {
    py::object capsule = py::getattr(tensor_class, "__dlpack_c_exchange_api__", py::none());
    if (!PyCapsule_IsValid(capsule.ptr(), "dlpack_exchange_api")) return false;
    const auto* table = static_cast<const DlExchange*>(
        PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
    if (table->major != kDlMajor || !table->tensor_from_object) return false;
    read_ = table->tensor_from_object;
    tensor_class_ = tensor_class.ptr();
    parameter_class_ = parameter_class.ptr();
    return true;
  }

  // A contiguous tensor in the CPU's memory that holds at least one number; else nothing.
  std::optional<DlTensor> read(PyObject* object) const {
    const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    if (!read_ || (type != tensor_class_ && type != parameter_class_)) return {};
    DlTensor tensor;
    if (read_(object, &tensor) != 0) {
      PyErr_Clear();
      return {};
    }
    const bool plain = tensor.device_type == kDlCpu && tensor.type_lanes == 1 && tensor.data;
    if (!plain || !is_contiguous(tensor)) return {};
    tensor.data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    return tensor;
  }

 private:
  static bool is_contiguous(const DlTensor& tensor) {
    int64_t step = 1;
    for (int32_t i = tensor.dimensions - 1; i >= 0; --i) {
      if (tensor.sizes[i] == 0) return false;
      const bool matters = tensor.strides && tensor.sizes[i] != 1;
      if (matters && tensor.strides[i] != step) return false;
      step *= tensor.sizes[i];
    }
    return true;
  }

  int (*read_)(void*, DlTensor*) = nullptr;
  PyObject* tensor_class_ = nullptr;
  PyObject* parameter_class_ = nullptr;
};

inline std::optional<DType> float_type(const DlTensor& tensor) {
  if (tensor.type_code == kDlBFloat && tensor.type_bits == 16) return DType::kBFloat16;
  if (tensor.type_code != kDlFloat) return {};
  switch (tensor.type_bits) {
    case 16: return DType::kFloat16;
    case 32: return DType::kFloat32;
    case 64: return DType::kFloat64;
    default: return {};
  }
}

inline bool holds_int64(const DlTensor& tensor) {
  return tensor.type_code == kDlInt && tensor.type_bits == 64;
}

}  // namespace ddetr
