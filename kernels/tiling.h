// How a batch is cut into tiles and a matrix into blocks, so that the operand stays in cache.
#pragma once

#include <cstdint>

#include "pattern.h"

namespace secateur {

struct Tiling {
    int tile;             // examples side by side
    std::int64_t tiles;
    bool blocked;         // the operand's block fits the first-level cache
    std::int64_t width;   // lines of a block

    std::int64_t padded() const { return tile * tiles; }
};

// Sizes of the tile worth having, in examples; a batch takes the smallest that holds it.
constexpr int kTiles[] = {2, 4, 8, 16, 32, 48, 64, 96, 128};

// Whether a row has so few survivors that the edges of a call, where it has any, cost as much as its walk.
inline bool edges_matter(const Pattern& pattern, bool feature_major) { return !feature_major && pattern.survivors() <= 32 * pattern.rows(); }

template <class T>
Tiling tiling_for(const Pattern& pattern, std::int64_t batch, bool feature_major = false) {
    constexpr std::int64_t cache = 32 * 1024;
    constexpr std::int64_t widest_block = 65536;
    // Below this many survivors in a line of a block, loading and storing the line's sums costs more than the cache saves.
    constexpr double fewest = 8;
    constexpr int full = 64;
    Tiling tiling{};
    const auto wide = [&](int tile) { return cache / (tile * std::int64_t(sizeof(T))); };
    tiling.blocked = pattern.density() * double(wide(full)) >= fewest && batch > 16;
    // Where edges matter two threads take half of the batch each, rather than half of the rows.
    const bool halves = edges_matter(pattern, feature_major) && (batch == 64 || batch == 128);
    const int most = halves ? int(batch / 2) : tiling.blocked ? 64 : 128;
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
    tiling.width = tiling.blocked ? wide(tiling.tile) : widest_block;
    return tiling;
}

// The number of threads that `work` multiply-adds keep busy.
inline int threads_for(std::int64_t work, int wanted) {
    constexpr std::int64_t enough = 200'000;
    const std::int64_t useful = 1 + work / enough;
    return int(useful < wanted ? useful : wanted);
}

}  // namespace secateur
