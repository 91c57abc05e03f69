#include "direct.h"

#include <new>
#include <optional>
#include <stdexcept>

#include "call.h"
#include "tensors.h"

namespace ddetr {
namespace {

TensorReader tensors;

// Lets other Python threads run as long as it lives.
struct Unlocked {
  PyThreadState* const state = PyEval_SaveThread();
  ~Unlocked() { PyEval_RestoreThread(state); }
};

// PyTorch negates lazily: what lies in memory may be the negatives of the tensor's numbers.
bool is_negated(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("is_neg");
  const auto answer = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor, name));
  if (!answer) throw py::error_already_set();
  return answer.ptr() != Py_False;
}

std::optional<Array> read_floats(const char* name, PyObject* object) {
  const std::optional<DlTensor> tensor = tensors.read(object);
  const std::optional<DType> dtype = tensor ? float_type(*tensor) : std::nullopt;
  if (!dtype || is_negated(object)) return {};
  return Array{name, reinterpret_cast<uintptr_t>(tensor->data), *dtype,
               {tensor->sizes, tensor->sizes + tensor->dimensions}};
}

std::optional<LevelList> read_shapes(PyObject* object) {
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

std::optional<std::vector<int64_t>> read_starts(PyObject* object) {
  const std::optional<DlTensor> tensor = tensors.read(object);
  if (!tensor || !holds_int64(*tensor) || tensor->dimensions != 1) return {};
  const auto* numbers = static_cast<const int64_t*>(tensor->data);
  return std::vector<int64_t>(numbers, numbers + tensor->sizes[0]);
}

// value, spatial_shapes, level_start_index, sampling_locations, attention_weights
std::optional<Call> read_call(PyObject* const* arguments) {
  const auto value = read_floats("value", arguments[0]);
  const auto shapes = read_shapes(arguments[1]);
  const auto starts = read_starts(arguments[2]);
  const auto locations = read_floats("sampling_locations", arguments[3]);
  const auto weights = read_floats("attention_weights", arguments[4]);
  if (!value || !shapes || !starts || !locations || !weights) return {};
  try {
    return std::optional<Call>(std::in_place, *value, *shapes, *starts, *locations, *weights);
  } catch (const py::builtin_exception&) {
    return {};
  }
}

py::object run_forward(PyObject* const* arguments, int threads) {
  const std::optional<Call> call = read_call(arguments);
  if (!call) return py::none();
  const Sizes& sizes = call->inputs.sizes;
  py::object output = py::handle(arguments[0])
                          .attr("new_empty")(py::make_tuple(sizes.batch, sizes.queries,
                                                            sizes.heads * sizes.channels));
  const std::optional<DlTensor> to = tensors.read(output.ptr());
  if (!to) return py::none();
  const Unlocked unlocked;
  forward_cpu(call->inputs, to->data, threads);
  return output;
}

// The output of a call whose tensors all can be read in place, and agree. None for any other call:
// it may be right in a way that needs PyTorch, or wrong in a way that Python has words for.
// By CPython's own convention of calls: pybind11's costs 10 us where caches are cold.
PyObject* forward_tensors(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  constexpr Py_ssize_t kCount = 6;
  if (count != kCount) {
    PyErr_SetString(PyExc_TypeError, "forward_tensors takes five tensors and a number of threads");
    return nullptr;
  }
  const long threads = PyLong_AsLong(arguments[kCount - 1]);
  if (threads == -1 && PyErr_Occurred()) return nullptr;
  try {
    return run_forward(arguments, int(threads)).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::length_error& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyMethodDef methods[] = {
    {"forward_tensors", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&forward_tensors)),
     METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

void add_direct_calls(py::module_& module) {
  module.def("read_tensors_of", [](const py::object& tensor, const py::object& parameter) {
    return tensors.open(tensor, parameter);
  });
  if (PyModule_AddFunctions(module.ptr(), methods) != 0) throw py::error_already_set();
}

}  // namespace ddetr
