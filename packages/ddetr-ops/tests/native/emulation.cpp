// The CUDA kernels on the host against the float64 kernels of the CPU.
//
//   emulation DTYPE LEVELS BATCH QUERIES HEADS CHANNELS POINTS PATH [SHARED_BYTES] [descending]
//
// LEVELS are like 6x9,3x5; QUERIES 0 means one for each pixel; PATH is tiles, general, deterministic,
// lying (levels that do not make up the pixels: whatever comes out, memory stays untouched) or large
// (one level whose numbers an int cannot count, of which one query samples the last pixel).
// Prints the largest errors relative to the largest number; exit status 1 above the dtype's reach.
#include <sys/mman.h>

#include <cmath>
#include <cstdio>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#define DDETR_EMULATED_CUDA
#include "../../csrc/cpu/scalar.h"
#include "../../csrc/cuda/backward.cu"
#include "../../csrc/cuda/forward.cu"

namespace {

using ddetr::DType;

struct Case {
  DType dtype;
  ddetr::Sizes sizes;
  std::vector<ddetr::Level> levels;
  std::vector<int64_t> shapes, starts;
  std::string path;
};

struct Numbers {
  std::vector<double> value, locations, weights, grad_output;
};

template <typename T>
struct Results {
  std::vector<T> output;
  std::vector<float> value, locations, weights;
};

Case parse(char** words) {
  Case found;
  const std::string dtype = words[1];
  found.dtype = dtype == "float16"    ? DType::kFloat16
                : dtype == "bfloat16" ? DType::kBFloat16
                                      : DType::kFloat32;
  std::istringstream levels(words[2]);
  int64_t height, width, pixels = 0;
  char separator;
  while (levels >> height >> separator >> width) {
    found.levels.push_back({height, width, pixels});
    found.shapes.insert(found.shapes.end(), {height, width});
    found.starts.push_back(pixels);
    pixels += height * width;
    levels >> separator;
  }
  const int64_t queries = std::atoll(words[4]);
  found.sizes = {std::atoll(words[3]), pixels, std::atoll(words[5]), std::atoll(words[6]),
                 int64_t(found.levels.size()), queries ? queries : pixels, std::atoll(words[7])};
  found.path = words[8];
  return found;
}

template <typename T>
T rounded(double number) {
  T narrow;
  ddetr::narrow(float(number), &narrow);
  return narrow;
}

template <typename T>
std::vector<T> converted(const std::vector<double>& numbers) {
  std::vector<T> found;
  for (double number : numbers) found.push_back(rounded<T>(number));
  return found;
}

// Where tests look first: on pixels' centres, on the border, a little outside, nowhere.
double border_location(std::mt19937& random) {
  constexpr double kLocations[] = {0.0, 1.0, 0.5, -0.01, 1.01, -1e9, 1e9, NAN, INFINITY, 0.125};
  return kLocations[random() % std::size(kLocations)];
}

// Locations near each query's own pixel for encoder calls, anywhere for others; every tenth special.
void draw_locations(const Case& test, std::mt19937& random, Numbers& numbers) {
  std::normal_distribution<double> pixels_away(0.0, 3.0);
  std::uniform_real_distribution<double> anywhere(-0.2, 1.2);
  const ddetr::Sizes& sizes = test.sizes;
  std::vector<double> centres;
  for (const ddetr::Level& level : test.levels) {
    for (int64_t k = 0; k < level.height * level.width; ++k) {
      centres.push_back((double(k % level.width) + 0.5) / double(level.width));
      centres.push_back((double(k / level.width) + 0.5) / double(level.height));
    }
  }
  for (size_t k = 0; k < numbers.locations.size(); ++k) {
    const size_t point = k / 2, level = point / size_t(sizes.points) % size_t(sizes.levels);
    const size_t query = point / size_t(sizes.points * sizes.levels * sizes.heads) %
                         size_t(sizes.queries);
    const auto& at = test.levels[level];
    const double centre = centres[(2 * query + k % 2) % centres.size()];
    const double near = centre + pixels_away(random) / double(k % 2 ? at.height : at.width);
    const double usual = sizes.queries == sizes.pixels ? near : anywhere(random);
    numbers.locations[k] = random() % 10 ? float(usual) : float(border_location(random));
  }
}

template <typename T>
Numbers draw(const Case& test) {
  const ddetr::Sizes& s = test.sizes;
  std::mt19937 random(unsigned(s.channels + 100 * s.queries));
  std::normal_distribution<double> normal;
  const size_t points = size_t(s.batch * s.queries * s.heads * s.levels * s.points);
  Numbers numbers;
  numbers.value.resize(size_t(s.batch * s.pixels * s.heads * s.channels));
  numbers.weights.resize(points);
  numbers.locations.resize(2 * points);
  numbers.grad_output.resize(size_t(s.batch * s.queries * s.heads * s.channels));
  for (double& number : numbers.weights) number = float(normal(random));
  for (auto* drawn : {&numbers.value, &numbers.grad_output}) {
    for (double& number : *drawn) number = ddetr::widen(rounded<T>(normal(random)));
  }
  draw_locations(test, random, numbers);
  return numbers;
}

template <typename T>
Results<T> run_cuda(const Case& test, const Numbers& numbers) {
  const auto value = converted<T>(numbers.value), grad = converted<T>(numbers.grad_output);
  const auto locations = converted<float>(numbers.locations),
             weights = converted<float>(numbers.weights);
  const ddetr::Inputs inputs = {test.sizes,   test.dtype,       nullptr,
                                value.data(), locations.data(), weights.data()};
  const ddetr::CudaCall call = {0, nullptr, test.shapes.data(), test.starts.data(),
                                test.path != "general"};
  const T unwritten = rounded<T>(NAN);
  Results<T> to = {std::vector<T>(grad.size(), unwritten), std::vector<float>(value.size()),
                   std::vector<float>(locations.size(), NAN),
                   std::vector<float>(weights.size(), NAN)};
  ddetr::forward_cuda(inputs, call, to.output.data());
  ddetr::backward_cuda(inputs, call,
                       {grad.data(), to.value.data(), to.locations.data(), to.weights.data()},
                       test.path == "deterministic");
  return to;
}

Results<double> zeros(const Numbers& numbers) {
  return {std::vector<double>(numbers.grad_output.size()), {}, {}, {}};
}

template <typename Found>
bool agree(const char* name, const std::vector<Found>& found, const std::vector<double>& expected,
           double reach) {
  double error = 0, largest = 1e-30;
  for (size_t k = 0; k < found.size(); ++k) {
    const double difference = std::fabs(double(ddetr::widen(found[k])) - expected[k]);
    error = std::isnan(difference) ? INFINITY : std::max(error, difference);
    largest = std::max(largest, std::fabs(expected[k]));
  }
  std::printf("%s %.1e\n", name, error / largest);
  return error <= reach * largest;
}

template <typename T>
bool check(const Case& test, double output_reach) {
  const Numbers numbers = draw<T>(test);
  const ddetr::Inputs inputs = {test.sizes,
                                DType::kFloat64,
                                test.levels.data(),
                                numbers.value.data(),
                                numbers.locations.data(),
                                numbers.weights.data()};
  std::vector<double> output = zeros(numbers).output, value(numbers.value.size()),
                      locations(numbers.locations.size()), weights(numbers.weights.size());
  ddetr::cpu::forward_double(inputs, output.data(), 1);
  ddetr::cpu::backward_double(
      inputs, {numbers.grad_output.data(), value.data(), locations.data(), weights.data()}, 1);
  const Results<T> found = run_cuda<T>(test, numbers);
  // Locations count in float32 pixels: a hundred of them lose seven bits.
  const bool all[] = {agree("output", found.output, output, output_reach),
                      agree("grad_value", found.value, value, 1e-4),
                      agree("grad_locations", found.locations, locations, 1e-4),
                      agree("grad_weights", found.weights, weights, 1e-4)};
  return std::all_of(std::begin(all), std::end(all), [](bool fine) { return fine; });
}

// Levels on the device that nobody could check: too large, with wrong starts, negative.
template <typename T>
bool survives_lies(Case test) {
  const Numbers numbers = draw<T>(test);
  const int64_t lies[] = {0, 1, -7, 1000, int64_t(1) << 40, INT64_MAX, INT64_MIN};
  std::mt19937 random(0);
  for (int round = 0; round < 4; ++round) {
    for (int64_t& number : test.shapes) number = lies[random() % std::size(lies)];
    for (int64_t& number : test.starts) number = lies[random() % std::size(lies)];
    run_cuda<T>(test, numbers);
  }
  return true;
}

// Zeros that take memory only where they are touched.
float* mapped_zeros(size_t count) {
  void* memory = mmap(nullptr, count * sizeof(float), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return static_cast<float*>(memory);
}

bool counts_in_64_bits(const Case& test) {
  const ddetr::Sizes& sizes = test.sizes;
  const size_t numbers = size_t(sizes.batch * sizes.pixels * sizes.heads * sizes.channels);
  if (numbers <= INT32_MAX || sizes.queries != 1 || sizes.points != 1) return false;
  float *value = mapped_zeros(numbers), *grad_value = mapped_zeros(numbers);
  value[numbers - 1] = 3.0f;
  const size_t rows = size_t(sizes.batch * sizes.heads);
  std::vector<float> locations, weights(rows, 1.0f), output(rows * size_t(sizes.channels), NAN);
  for (size_t k = 0; k < rows; ++k) {  // inside the last pixel, nearly at its centre
    locations.push_back(float(1 - 0.5 / double(test.levels[0].width)));
    locations.push_back(float(1 - 0.5 / double(test.levels[0].height)));
  }
  const std::vector<float> grad(output.size(), 2.0f);
  std::vector<float> grad_locations(2 * rows), grad_weights(rows);
  const ddetr::Inputs inputs = {sizes, DType::kFloat32, nullptr, value, locations.data(),
                                weights.data()};
  const ddetr::CudaCall call = {0, nullptr, test.shapes.data(), test.starts.data(), true};
  ddetr::forward_cuda(inputs, call, output.data());
  ddetr::backward_cuda(
      inputs, call, {grad.data(), grad_value, grad_locations.data(), grad_weights.data()}, false);
  std::printf("%g %g %g\n", output.back(), grad_value[numbers - 1], grad_weights.back());
  return std::fabs(output.back() - 3) < 1e-2 && output.front() == 0 &&
         std::fabs(grad_value[numbers - 1] - 2) < 1e-2 && std::fabs(grad_weights.back() - 6) < 1e-2;
}

template <typename T>
bool run(const Case& test, double output_reach) {
  if (test.path == "large") return counts_in_64_bits(test);
  return test.path == "lying" ? survives_lies<T>(test) : check<T>(test, output_reach);
}

}  // namespace

int main(int count, char** words) {
  if (count < 9) return 3;
  if (count > 9) emulated::settings().shared_memory_limit = size_t(std::atoll(words[9]));
  emulated::settings().descending = count > 10;
  const Case test = parse(words);
  switch (test.dtype) {
    case DType::kFloat16: return run<__half>(test, 1e-3) ? 0 : 1;
    case DType::kBFloat16: return run<__nv_bfloat16>(test, 8e-3) ? 0 : 1;
    default: return run<float>(test, 1e-4) ? 0 : 1;
  }
}
