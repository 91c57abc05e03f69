// What this processor and its system can do. GCC's and Clang's own question for it needs a library
// that not every toolchain has.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>

namespace ddetr::cpu {

struct Processor {
  bool avx2 = false;    // with FMA and half-precision conversions
  bool avx512 = false;  // F, DQ, BW and VL
};

inline Processor this_processor() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return {};
  constexpr unsigned kFma = 1u << 12, kSystemSaves = 1u << 27, kHalves = 1u << 29;
  if (!(ecx & kSystemSaves)) return {};
  const bool has_fma = (ecx & kFma) && (ecx & kHalves);
  unsigned saved, upper;  // registers that the system keeps when it changes threads
  __asm__("xgetbv" : "=a"(saved), "=d"(upper) : "c"(0));
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {};
  constexpr unsigned kAvx2 = 1u << 5;
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
  constexpr unsigned kSaved256 = 0x6, kSaved512 = 0xe6;
  Processor found;
  found.avx2 = has_fma && (ebx & kAvx2) && (saved & kSaved256) == kSaved256;
  found.avx512 = found.avx2 && (ebx & kAvx512) == kAvx512 && (saved & kSaved512) == kSaved512;
  return found;
}

}  // namespace ddetr::cpu
#endif
