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

#include "simd.h"
#include "rows.h"
#include "corners.h"
#include "head.h"
#include "forward.h"
#include "backward.h"
#include "points.h"

}  // namespace
}  // namespace avx512

const KernelSet kAvx512 = {"avx512",
    avx512::kLanes, avx512::forward, avx512::backward, avx512::points, avx512::points_backward};

}  // namespace ddetr::cpu
