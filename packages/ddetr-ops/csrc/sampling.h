// Bilinear sampling: a point's four pixels, their weights and the point's gradients, for the CUDA
// kernels and the double path. The host compiles the same functions, so that tests without a GPU
// prove them. Equation 3 of the paper (Zhu et al. 2021, section 4.1) samples x(p) like this.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define DDETR_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DDETR_HOST_DEVICE inline
#endif

namespace ddetr {

// Corners in the order top left, top right, bottom left, bottom right.
constexpr int kCorners = 4;

template <typename T>
struct BilinearCorners {
  int64_t row[kCorners];  // pixel index inside the level, -1 outside the image
  T fraction_x, fraction_y;  // of a pixel, from the top left corner to the point
  int64_t line, column;  // of the top left corner, which may lie outside
};

// The original rule: pixel centres at 0.5, and a point counts if -1 < x < width and the same for y.
// So a point within a pixel of the border, as the encoder's border pixels have many, still reads
// the pixels that it has: the others count as zero, as grid_sample's padding_mode="zeros" has it.
// The padding of a batch is no border: its pixels lie inside the level, and the layer has made
// their value zero.
// A comparison with NaN is false, so NaN and infinite locations count as outside.
template <typename T>
DDETR_HOST_DEVICE BilinearCorners<T> find_corners(T location_x, T location_y, int64_t height,
                                                  int64_t width) {
  const T x = location_x * T(width) - T(0.5);
  const T y = location_y * T(height) - T(0.5);
  BilinearCorners<T> corners = {{-1, -1, -1, -1}, T(0), T(0), 0, 0};
  if (!(x > T(-1) && y > T(-1) && x < T(width) && y < T(height))) return corners;
  int64_t column = int64_t(x), line = int64_t(y);
  column -= T(column) > x;  // a conversion truncates towards zero
  line -= T(line) > y;
  corners.line = line;
  corners.column = column;
  corners.fraction_x = x - T(column);
  corners.fraction_y = y - T(line);
  const bool left = column >= 0, right = column + 1 < width;
  const bool top = line >= 0, bottom = line + 1 < height;
  const int64_t row = line * width + column;
  if (top && left) corners.row[0] = row;
  if (top && right) corners.row[1] = row + 1;
  if (bottom && left) corners.row[2] = row + width;
  if (bottom && right) corners.row[3] = row + width + 1;
  return corners;
}

// The bilinear weight of one corner.
template <typename T>
DDETR_HOST_DEVICE T corner_weight(const BilinearCorners<T>& corners, int corner) {
  const T x = corner & 1 ? corners.fraction_x : T(1) - corners.fraction_x;
  const T y = corner & 2 ? corners.fraction_y : T(1) - corners.fraction_y;
  return x * y;
}

template <typename T>
struct PointGradients {
  T weight, location_x, location_y;
};

// From dots[c] = <grad_output, corner c> (0 for a corner outside) to the gradients of one point.
// Locations are normalised: one pixel is 1 / width, hence the factors width and height.
template <typename T>
DDETR_HOST_DEVICE PointGradients<T> point_gradients(const BilinearCorners<T>& corners,
                                                    const T dots[kCorners], T weight,
                                                    int64_t height, int64_t width) {
  const T fx = corners.fraction_x, fy = corners.fraction_y;
  const T along_x = (T(1) - fy) * (dots[1] - dots[0]) + fy * (dots[3] - dots[2]);
  const T along_y = (T(1) - fx) * (dots[2] - dots[0]) + fx * (dots[3] - dots[1]);
  T sum = T(0);
  for (int corner = 0; corner < kCorners; ++corner) {
    sum += corner_weight(corners, corner) * dots[corner];
  }
  return {sum, weight * T(width) * along_x, weight * T(height) * along_y};
}

}  // namespace ddetr
