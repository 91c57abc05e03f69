// The part of grad_value that a tile's samples mostly fall into, summed in shared memory. A window
// is cut off at the level's borders; samples beside it go to grad_value by atomic sums.
#pragma once

#include "tiles.cuh"

namespace ddetr {

constexpr int kWindowMargin = 5;  // pixels around the tile; offsets start at 1 to P pixels
constexpr int kWindowChannels = 32;

// A rectangle of one level's pixels.
struct Window {
  int64_t line, column;  // of its corner
  int rows, columns;
  int first;  // its corner's index in the block's memory, in pixels; -1: no room was left

  __device__ int size() const { return rows * columns; }
  // The index of a pixel of the level in the block's memory; -1 outside the window.
  __device__ int index_of(int64_t pixel_line, int64_t pixel_column) const {
    const int64_t i = pixel_line - line, j = pixel_column - column;
    const bool inside = first >= 0 && i >= 0 && j >= 0 && i < rows && j < columns;
    return inside ? first + int(i) * columns + int(j) : -1;
  }
};

// One axis of a window: the pixels of a level with `length` of them that lie over the pixels
// [from, from + count) of the tile's level, which has `tile_length` of them, and a margin.
__device__ __forceinline__ int64_t window_start(int64_t from, int64_t length, int64_t tile_length) {
  const int64_t start = from * length / tile_length - kWindowMargin;
  return start > 0 ? start : 0;
}

__device__ __forceinline__ int window_length(int64_t from, int64_t count, int64_t length,
                                             int64_t tile_length) {
  const int64_t end =
      ((from + count) * length + tile_length - 1) / tile_length + kWindowMargin;
  return int((end < length ? end : length) - window_start(from, length, tile_length));
}

__device__ __forceinline__ Window window_around(const Tile& tile, const Levels& levels, int level) {
  const int64_t* of_tile = levels.shapes + 2 * tile.level;
  const int64_t* of_window = levels.shapes + 2 * level;
  return {window_start(tile.line, of_window[0], of_tile[0]),
          window_start(tile.column, of_window[1], of_tile[1]),
          window_length(tile.line, tile.rows, of_window[0], of_tile[0]),
          window_length(tile.column, tile.columns, of_window[1], of_tile[1]), -1};
}

// The level's window, in memory behind the windows of all smaller ones if `capacity` pixels allow.
// A window left out costs a level its atomic sums, whatever its size: so the largest are left out.
__device__ __forceinline__ Window plan_window(const Tile& tile, const Levels& levels,
                                              int num_levels, int level, int64_t capacity) {
  if (tile.level < 0) return {0, 0, 0, 0, -1};
  Window window = window_around(tile, levels, level);
  int64_t before = 0;
  for (int other = 0; other < num_levels; ++other) {
    const Window beside = window_around(tile, levels, other);
    const int64_t size = int64_t(beside.rows) * beside.columns;
    const int64_t own = int64_t(window.rows) * window.columns;
    if (size < own || (size == own && other < level)) before += size;
  }
  if (before + int64_t(window.rows) * window.columns <= capacity) window.first = int(before);
  return window;
}

// Pixels that windows on levels of usual sizes take: each level half as large as the one before.
inline int64_t usual_window_pixels(int64_t levels) {
  int64_t pixels = 0;
  for (int64_t level = 0; level < levels; ++level) {
    const int64_t side = (kTileSide >> (level < 4 ? level : 4)) + 2 * kWindowMargin + 1;
    pixels += side * side;
  }
  return pixels;
}

}  // namespace ddetr
