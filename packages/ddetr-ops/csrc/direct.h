// The operator on PyTorch's tensors themselves, with few Python objects in between.
#pragma once

#include <pybind11/pybind11.h>

namespace ddetr {

// Adds read_tensors_of, and forward_tensors and backward_tensors; _core.pyi has their signatures.
// The latter two give None, having done nothing, where a tensor cannot be read as it lies or the
// sizes disagree. The caller then takes the way through PyTorch, which copies what has to be copied
// (a tensor on a GPU, with strides or lazily negated) or raises an error that names the argument.
void add_direct_calls(pybind11::module_& module);

}  // namespace ddetr
