// Scratch memory that outlives a call, and huge pages for what is written only once.
#pragma once

#include <cstddef>

namespace ddetr::cpu {

// At least `bytes` of the calling thread's scratch memory, aligned to 64; valid until the thread's
// next call. Throws std::bad_alloc.
void* scratch(size_t bytes);

// Asks for huge pages under a large array that is yet to be written: faults of small pages would
// cost as much as the kernel. But a virtual machine that gives free huge pages back to its host
// waits milliseconds for each: where one comes late, small ones are taken for a second.
void use_huge_pages(void* memory, size_t bytes);

}  // namespace ddetr::cpu
