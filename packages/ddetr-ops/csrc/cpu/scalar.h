// The float64 kernels: plain loops for gradcheck, and the proof of sampling.h on the host.
#pragma once

#include "../msda.h"

namespace ddetr::cpu {

void forward_double(const Inputs& inputs, void* output, int threads);
void backward_double(const Inputs& inputs, const Gradients& gradients, int threads);

}  // namespace ddetr::cpu
