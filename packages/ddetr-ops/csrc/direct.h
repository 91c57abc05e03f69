// The operator on PyTorch's tensors themselves, with few Python objects in between.
#pragma once

#include <pybind11/pybind11.h>

namespace ddetr {

// Adds read_tensors_of, and forward_tensors and backward_tensors; _core.pyi has their signatures.
// These two give None, having done nothing, unless all tensors can be read in place, and agree: a
// call may be right in a way that needs PyTorch, or wrong in a way that Python has words for.
void add_direct_calls(pybind11::module_& module);

}  // namespace ddetr
