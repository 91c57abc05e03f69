// The forward pass on PyTorch's tensors themselves, without Python objects in between.
#pragma once

#include <pybind11/pybind11.h>

namespace ddetr {

// Adds read_tensors_of and forward_tensors; _core.pyi has their signatures.
void add_direct_calls(pybind11::module_& module);

}  // namespace ddetr
