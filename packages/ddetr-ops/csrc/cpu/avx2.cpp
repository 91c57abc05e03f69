// The kernels for AVX2, FMA and F16C.
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "task.h"

namespace ddetr::cpu {
namespace avx2 {
namespace {

#include "simd.inc"
#include "rows.inc"
#include "corners.inc"
#include "head.inc"
#include "lookahead.inc"
#include "forward.inc"
#include "backward.inc"
#include "points.inc"

}  // namespace
}  // namespace avx2

const KernelSet kAvx2 = {"avx2",
    avx2::kLanes, avx2::forward, avx2::backward, avx2::points, avx2::points_backward};

}  // namespace ddetr::cpu
