// The float32 kernels against the float64 ones without Python, for processors that only an emulator
// has here. Prints the largest errors relative to the largest number; exit status 1 above kTolerance.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "../../csrc/msda.h"

namespace {

using ddetr::DType;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr double kTolerance = 2e-5;
constexpr ddetr::Sizes kSizes = {2, 73, 2, 24, 3, 50, 4};  // B, S, M, D, L, Q, P
constexpr ddetr::Level kLevels[] = {{6, 9, 0}, {3, 5, 54}, {2, 2, 69}};
constexpr size_t kValues = 2 * 73 * 2 * 24, kPoints = 2 * 50 * 2 * 3 * 4, kOutputs = 2 * 50 * 2 * 24;

template <typename Number>
struct Results {
  std::vector<Number> output = std::vector<Number>(kOutputs);
  std::vector<Number> value = std::vector<Number>(kValues);
  std::vector<Number> locations = std::vector<Number>(2 * kPoints);
  std::vector<Number> weights = std::vector<Number>(kPoints);
};

template <typename Number>
Results<Number> run(DType dtype, const Floats& value, const Floats& locations,
                    const Floats& weights, const Floats& grad_output) {
  const std::vector<Number> v(value.begin(), value.end()), w(weights.begin(), weights.end()),
      l(locations.begin(), locations.end()), g(grad_output.begin(), grad_output.end());
  const ddetr::Inputs inputs = {kSizes, dtype, kLevels, v.data(), l.data(), w.data()};
  Results<Number> to;
  ddetr::forward_cpu(inputs, to.output.data(), 1);
  ddetr::backward_cpu(
      inputs, {g.data(), to.value.data(), to.locations.data(), to.weights.data()}, 1);
  return to;
}

bool agree(const char* name, const Floats& found, const Doubles& expected) {
  double error = 0, largest = 0;
  for (size_t k = 0; k < found.size(); ++k) {
    error = std::max(error, std::fabs(found[k] - expected[k]));
    largest = std::max(largest, std::fabs(expected[k]));
  }
  std::printf("%s %s: %.1e\n", ddetr::instruction_set(), name, error / largest);
  return error <= kTolerance * largest;
}

}  // namespace

int main() {
  std::mt19937 random(0);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> anywhere(-0.2f, 1.2f);  // some outside the image
  const auto draw = [&](size_t count, auto& distribution) {
    Floats numbers(count);
    for (float& number : numbers) number = distribution(random);
    return numbers;
  };
  const Floats value = draw(kValues, normal), locations = draw(2 * kPoints, anywhere),
               weights = draw(kPoints, normal), grad_output = draw(kOutputs, normal);
  const auto found = run<float>(DType::kFloat32, value, locations, weights, grad_output);
  const auto expected = run<double>(DType::kFloat64, value, locations, weights, grad_output);
  const bool all[] = {agree("output", found.output, expected.output),
                      agree("grad_value", found.value, expected.value),
                      agree("grad_locations", found.locations, expected.locations),
                      agree("grad_weights", found.weights, expected.weights)};
  return std::all_of(std::begin(all), std::end(all), [](bool fine) { return fine; }) ? 0 : 1;
}
