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

using TensorSizes = std::vector<int64_t>;

// A tensor like `model` but for its sizes, and its memory.
py::object new_empty(PyObject* model, const TensorSizes& sizes) {
  return py::handle(model).attr("new_empty")(py::tuple(py::cast(sizes)));
}

void* memory_of(const py::object& tensor) {
  const std::optional<DlTensor> found = tensors.read(tensor.ptr());
  if (!found) throw std::runtime_error("a new tensor cannot be read");
  return found->data;
}

py::object run_forward(PyObject* const* arguments, int threads) {
  const std::optional<Call> call = read_call(arguments);
  if (!call) return py::none();
  const py::object output = new_empty(arguments[0], call->output_sizes());
  void* to = memory_of(output);
  {
    const Unlocked unlocked;
    forward_cpu(call->inputs, to, threads);
  }
  return output;
}

py::object run_backward(PyObject* const* arguments, int threads) {
  const auto grad_output = read_floats("grad_output", arguments[0]);
  const std::optional<Call> call = read_call(arguments + 1);
  if (!grad_output || !call || !call->is_output(*grad_output)) return py::none();
  const Sizes& sizes = call->inputs.sizes;
  TensorSizes point_sizes = {sizes.batch, sizes.queries, sizes.heads, sizes.levels, sizes.points};
  const py::object value =
      new_empty(arguments[1], {sizes.batch, sizes.pixels, sizes.heads, sizes.channels});
  const py::object weights = new_empty(arguments[5], point_sizes);
  point_sizes.push_back(2);
  const py::object locations = new_empty(arguments[4], point_sizes);
  const Gradients gradients = {grad_output->data(), memory_of(value), memory_of(locations),
                               memory_of(weights)};
  {
    const Unlocked unlocked;
    backward_cpu(call->inputs, gradients, threads);
  }
  return py::make_tuple(value, locations, weights);
}

// Calls run(tensors, threads) for Python: tensors, then a number of threads.
template <py::object (*run)(PyObject* const*, int), Py_ssize_t tensor_count>
PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != tensor_count + 1) {
    PyErr_SetString(PyExc_TypeError, "tensors and a number of threads are needed");
    return nullptr;
  }
  const long threads = PyLong_AsLong(arguments[tensor_count]);
  if (threads == -1 && PyErr_Occurred()) return nullptr;
  try {
    return run(arguments, int(threads)).release().ptr();
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

template <py::object (*run)(PyObject* const*, int), Py_ssize_t tensor_count>
PyMethodDef method(const char* name) {
  auto* function = reinterpret_cast<void*>(&call<run, tensor_count>);
  return {name, reinterpret_cast<PyCFunction>(function), METH_FASTCALL, nullptr};
}

// By CPython's own convention of calls: pybind11's costs 10 us where caches are cold.
PyMethodDef methods[] = {
    method<run_forward, 5>("forward_tensors"),
    method<run_backward, 6>("backward_tensors"),
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
