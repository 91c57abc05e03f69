// The kernels for what every processor of the architecture has.
#include <cstddef>
#include <cstdint>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "task.h"

namespace ddetr::cpu {
namespace baseline {
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
}  // namespace baseline

const KernelSet kBaseline = {"baseline",
    baseline::kLanes, baseline::forward, baseline::backward, baseline::points, baseline::points_backward};

}  // namespace ddetr::cpu
