#include "scalar.h"

#include <algorithm>

#include "../sampling.h"
#include "parallel.h"

namespace ddetr::cpu {
namespace {

// Calls visit(level, index of the point) for all points of one query and head.
template <typename Visit>
void for_each_point(const Inputs& inputs, int64_t query_row, Visit visit) {
  const Sizes& sizes = inputs.sizes;
  int64_t point = query_row * sizes.levels * sizes.points;
  for (int64_t level = 0; level < sizes.levels; ++level) {
    for (int64_t p = 0; p < sizes.points; ++p) visit(inputs.levels[level], point++);
  }
}

// The row indices of one image and head.
struct Head {
  const Sizes& sizes;
  int64_t batch, head;

  Head(const Sizes& all, int64_t task)
      : sizes(all), batch(task / all.heads), head(task % all.heads) {}
  int64_t query_row(int64_t query) const {
    return (batch * sizes.queries + query) * sizes.heads + head;
  }
  int64_t pixel_row(int64_t pixel) const {
    return (batch * sizes.pixels + pixel) * sizes.heads + head;
  }
};

BilinearCorners<double> corners_of_point(const Inputs& inputs, const Level& level,
                                         int64_t point) {
  const double* location = static_cast<const double*>(inputs.locations) + 2 * point;
  return find_corners(location[0], location[1], level.height, level.width);
}

void forward_head(const Inputs& inputs, const Head& head, double* output) {
  const int64_t channels = inputs.sizes.channels;
  const double* value = static_cast<const double*>(inputs.value);
  const double* weights = static_cast<const double*>(inputs.weights);
  for (int64_t query = 0; query < inputs.sizes.queries; ++query) {
    double* out = output + head.query_row(query) * channels;
    std::fill(out, out + channels, 0.0);
    for_each_point(inputs, head.query_row(query), [&](const Level& level, int64_t point) {
      const BilinearCorners<double> corners = corners_of_point(inputs, level, point);
      for (int corner = 0; corner < kCorners; ++corner) {
        if (corners.row[corner] < 0) continue;
        const double* row =
            value + head.pixel_row(level.start + corners.row[corner]) * channels;
        const double weight = corner_weight(corners, corner) * weights[point];
        for (int64_t c = 0; c < channels; ++c) out[c] += weight * row[c];
      }
    });
  }
}

void backward_head(const Inputs& inputs, const Head& head, const Gradients& gradients) {
  const int64_t channels = inputs.sizes.channels;
  const double* value = static_cast<const double*>(inputs.value);
  const double* weights = static_cast<const double*>(inputs.weights);
  double* grad_value = static_cast<double*>(gradients.value);
  double* grad_locations = static_cast<double*>(gradients.locations);
  for (int64_t query = 0; query < inputs.sizes.queries; ++query) {
    const double* grad =
        static_cast<const double*>(gradients.output) + head.query_row(query) * channels;
    for_each_point(inputs, head.query_row(query), [&](const Level& level, int64_t point) {
      const BilinearCorners<double> corners = corners_of_point(inputs, level, point);
      double dots[kCorners] = {};
      for (int corner = 0; corner < kCorners; ++corner) {
        if (corners.row[corner] < 0) continue;
        const int64_t row = head.pixel_row(level.start + corners.row[corner]) * channels;
        const double weight = corner_weight(corners, corner) * weights[point];
        for (int64_t c = 0; c < channels; ++c) {
          dots[corner] += grad[c] * value[row + c];
          grad_value[row + c] += weight * grad[c];
        }
      }
      const PointGradients<double> found =
          point_gradients(corners, dots, weights[point], level.height, level.width);
      static_cast<double*>(gradients.weights)[point] = found.weight;
      grad_locations[2 * point] = found.location_x;
      grad_locations[2 * point + 1] = found.location_y;
    });
  }
}

}  // namespace

void forward_double(const Inputs& inputs, void* output, int threads) {
  const int64_t tasks = inputs.sizes.batch * inputs.sizes.heads;
  for_each_index(tasks, threads, [&](int) {
    return [&](int64_t task) {
      forward_head(inputs, Head(inputs.sizes, task), static_cast<double*>(output));
    };
  });
}

void backward_double(const Inputs& inputs, const Gradients& gradients, int threads) {
  const Sizes& sizes = inputs.sizes;
  double* grad_value = static_cast<double*>(gradients.value);
  std::fill_n(grad_value, sizes.batch * sizes.pixels * sizes.heads * sizes.channels, 0.0);
  const int64_t tasks = sizes.batch * sizes.heads;
  for_each_index(tasks, threads, [&](int) {
    return [&](int64_t task) { backward_head(inputs, Head(sizes, task), gradients); };
  });
}

}  // namespace ddetr::cpu
