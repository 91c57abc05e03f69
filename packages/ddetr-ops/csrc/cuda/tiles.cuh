// Which queries a block takes. Where queries are the pixels of the levels, as in the encoder, a tile is
// a square of them: their samples overlap, so the block reads most rows from L1. Only the device knows
// the levels, so the launch guesses how many tiles there are and blocks take several if need be.
#pragma once

#include "group.cuh"

namespace ddetr {

constexpr int kTileSide = 16;
constexpr int kTileQueries = kTileSide * kTileSide;

struct Tile {
  int64_t first, row_step;  // query of its corner, and from there to the row below
  int rows, columns;
  int level;       // -1 for a mere run of queries
  int64_t line, column;  // of its corner, in the level's pixels

  __device__ int size() const { return rows * columns; }
  __device__ int64_t query(int k) const { return first + k / columns * row_step + k % columns; }
};

__device__ __forceinline__ int64_t pieces(int64_t length) {
  return (length + kTileSide - 1) / kTileSide;
}

// How the queries of one image and head are tiled. Levels that do not make up the queries (nobody
// has compared them: that would wait for the GPU) leave runs of neighbours: no query is lost.
struct Tiling {
  bool squares;
  int64_t count;

  __device__ Tiling(const Sizes& sizes, const Levels& levels) {
    int64_t pixels = 0, tiles = 0;
    squares = true;
    for (int64_t level = 0; squares && level < sizes.levels; ++level) {
      const int64_t height = levels.shapes[2 * level], width = levels.shapes[2 * level + 1];
      squares = height > 0 && width > 0 && height <= sizes.queries && width <= sizes.queries &&
                pixels + height * width <= sizes.queries;
      pixels += squares ? height * width : 0;
      tiles += squares ? pieces(height) * pieces(width) : 0;
    }
    squares = squares && pixels == sizes.queries;
    count = squares ? tiles : (sizes.queries + kTileQueries - 1) / kTileQueries;
  }

  // Tile `index` of all; a level's rows and columns are cut into equal pieces.
  __device__ Tile tile(const Sizes& sizes, const Levels& levels, int64_t index) const {
    if (!squares) return run(sizes, index);
    int64_t start = 0, height, width;
    int level = 0;
    for (;; ++level) {
      height = levels.shapes[2 * level];
      width = levels.shapes[2 * level + 1];
      const int64_t tiles = pieces(height) * pieces(width);
      if (index < tiles) break;
      index -= tiles;
      start += height * width;
    }
    const int64_t down = pieces(height), across = pieces(width);
    const int64_t i = index / across, j = index % across;
    const int64_t line = height * i / down, column = width * j / across;
    return {start + line * width + column,
            width,
            int(height * (i + 1) / down - line),
            int(width * (j + 1) / across - column),
            level,
            line,
            column};
  }

 private:
  __device__ static Tile run(const Sizes& sizes, int64_t index) {
    const int64_t first = index * kTileQueries, left = sizes.queries - first;
    return {first, 0, 1, int(left < kTileQueries ? left : kTileQueries), -1, 0, 0};
  }
};

// Blocks for each image and head: enough for one tile each on levels of usual sizes.
inline int64_t tile_slots(const Sizes& sizes) {
  return sizes.queries * 3 / (2 * kTileQueries) + 2 * sizes.levels + 1;
}

// Whether the queries can be the pixels, and a group of lanes holds all channels of a head.
inline bool can_tile(const Sizes& sizes, int lanes, int width) {
  return sizes.queries == sizes.pixels && width > 1 && sizes.channels <= int64_t(lanes) * width;
}

}  // namespace ddetr
