// The kernels for AVX-512 (F, BW, DQ, VL).
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "task.h"

namespace ddetr::cpu {
namespace avx512 {
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
}  // namespace avx512

const KernelSet kAvx512 = {"avx512",
    avx512::kLanes, avx512::forward, avx512::backward, avx512::points, avx512::points_backward};

}  // namespace ddetr::cpu
