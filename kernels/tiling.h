// How a batch is cut into tiles and a matrix into blocks, so that the operand stays in cache.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pattern.h"

namespace secateur {

struct Tiling {
    int tile;            // examples side by side
    std::int64_t tiles;
    std::int64_t width;  // lines of a block

    std::int64_t padded() const { return tile * tiles; }
};

// Sizes of the tile worth having, in examples; a batch takes the smallest that holds it.
constexpr int kTiles[] = {2, 4, 8, 16, 32, 48, 64, 96, 128};

constexpr std::int64_t kWidestBlock = 65536;

// From so many examples on what is packed of them all does not stay in the second-level cache: better a tile at a time, and again when needed.
constexpr std::int64_t kManyExamples = 256;

// Whether a row has so few survivors that the edges of a call, where it has any, cost as much as its walk.
inline bool edges_matter(const Pattern& pattern, bool feature_major) { return !feature_major && pattern.survivors() <= 32 * pattern.rows(); }

// Lines of an operand whose tile takes so many bytes.
template <class T>
std::int64_t lines_in(std::int64_t bytes, int tile) {
    return bytes / (tile * std::int64_t(sizeof(T)));
}

constexpr std::int64_t kNear = 32 * 1024;  // bytes of an operand that stay in the first-level cache
constexpr std::int64_t kFar = 8 * kNear;  // and in the second-level one, beside other operands

// Whether blocks whose operand stays in the first-level cache pay: below some survivors in a line of one, loading and storing the line's
// sums costs more than the cache saves.
template <class T>
bool small_blocks_pay(const Pattern& pattern, std::int64_t batch) {
    constexpr double fewest = 8;
    return pattern.density() * double(lines_in<T>(kNear, 64)) >= fewest && batch > 16;
}

// The lines of a block of a product whose tiles have this size.
template <class T>
std::int64_t block_width(const Pattern& pattern, int tile, std::int64_t batch) {
    constexpr double fewest = 16;
    if (small_blocks_pay<T>(pattern, batch)) return lines_in<T>(kNear, tile < 64 ? tile : 64);
    std::int64_t width = lines_in<T>(kFar, tile);
    while (width < kWidestBlock && pattern.density() * double(width) < fewest) width *= 2;
    return width < kWidestBlock ? width : kWidestBlock;
}

// Panels of so many lines whose sums, of `width` examples each, stay near from block to block.
template <class T>
int panels_near(std::int64_t lines, int width) {
    return int(std::max<std::int64_t>(1, (lines * width * std::int64_t(sizeof(T)) + kFar - 1) / kFar));
}

// Tiles of at most `widest` examples.
template <class T>
Tiling tiling_for(const Pattern& pattern, std::int64_t batch, bool feature_major, int widest) {
    Tiling tiling{};
    // Where edges matter two threads take half of the batch each, rather than half of the rows.
    const bool halves = edges_matter(pattern, feature_major) && (batch == 64 || batch == 128);
    const int most = halves ? int(batch / 2) : widest;
    double best = 0;
    for (const int tile : kTiles) {
        if (tile > most) break;
        const double cost = double((batch + tile - 1) / tile) * (tile + 12);
        if (tiling.tile == 0 || cost < best) {
            tiling.tile = tile;
            best = cost;
        }
    }
    tiling.tiles = (batch + tiling.tile - 1) / tiling.tile;
    tiling.width = block_width<T>(pattern, tiling.tile, batch);
    return tiling;
}

// A survivor that gathers its one example takes as long as this many multiply-adds of a tile.
constexpr std::int64_t kOneExample = 8;

// The number of threads that `work` multiply-adds keep busy.
inline int threads_for(std::int64_t work, int wanted) {
    constexpr std::int64_t enough = 200'000;
    const std::int64_t useful = 1 + work / enough;
    return int(useful < wanted ? useful : wanted);
}

}  // namespace secateur
