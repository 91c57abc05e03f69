#include "parallel.h"

#include <dlfcn.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif defined(__linux__)
#include <link.h>
#endif

#include <string>
#include <vector>

namespace ddetr::cpu {
namespace {

// Two functions of libgomp's interface, which LLVM's and Intel's runtimes have under the same names.
struct Runtime {
  void (*parallel)(void (*region)(void*), void* data, unsigned threads, unsigned flags) = nullptr;
  int (*thread_number)() = nullptr;
};

Runtime functions_of(void* library) {
  Runtime found;
  found.parallel = reinterpret_cast<decltype(found.parallel)>(dlsym(library, "GOMP_parallel"));
  found.thread_number =
      reinterpret_cast<decltype(found.thread_number)>(dlsym(library, "omp_get_thread_num"));
  return found.parallel && found.thread_number ? found : Runtime();
}

// The paths of all libraries in this process.
std::vector<std::string> loaded_libraries() {
  std::vector<std::string> paths;
#if defined(__APPLE__)
  for (uint32_t i = 0; i < _dyld_image_count(); ++i) paths.emplace_back(_dyld_get_image_name(i));
#elif defined(__linux__)
  const auto add = [](dl_phdr_info* library, size_t, void* to) {
    static_cast<std::vector<std::string>*>(to)->emplace_back(library->dlpi_name);
    return 0;
  };
  dl_iterate_phdr(add, &paths);
#endif
  return paths;
}

bool is_openmp(const std::string& path) {
  const std::string name = path.substr(path.rfind('/') + 1);
  for (const char* start : {"libgomp", "libomp", "libiomp"}) {
    if (name.rfind(start, 0) == 0) return true;
  }
  return false;
}

Runtime find_runtime() {
  const Runtime visible = functions_of(RTLD_DEFAULT);
  if (visible.parallel) return visible;
  // A wheel may bring its own under a name of its own, and keep it to itself.
  for (const std::string& path : loaded_libraries()) {
    if (!is_openmp(path)) continue;
    if (void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD)) {
      const Runtime hidden = functions_of(library);
      if (hidden.parallel) return hidden;
      dlclose(library);
    }
  }
  return {};
}

const Runtime& runtime() {
  static const Runtime found = find_runtime();
  return found;
}

struct Region {
  void (*run)(void* context, int thread);
  void* context;
};

void run_region(void* data) {
  const Region& region = *static_cast<const Region*>(data);
  region.run(region.context, runtime().thread_number());
}

}  // namespace

bool has_threads() { return runtime().parallel != nullptr; }

void on_threads(int threads, void (*run)(void* context, int thread), void* context) {
  if (threads <= 1 || !has_threads()) return run(context, 0);
  Region region = {run, context};
  runtime().parallel(run_region, &region, unsigned(threads), 0);
}

}  // namespace ddetr::cpu
