// How CUDA's part raises: in a function of its own, so that nvcc's host compiler and the one of all else
// need not share a C++ library.
#pragma once

namespace ddetr {

// Throws std::runtime_error("what: why").
[[noreturn]] void fail(const char* what, const char* why);

}  // namespace ddetr
