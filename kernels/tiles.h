// Activations in tiles, and the way from a caller's layout to them and back.
#pragma once

#include <algorithm>

#include "parallel.h"
#include "primitives.h"
#include "tiling.h"

namespace secateur {

// Activations as the kernels read them: tile t begins at `data + t * step`, its features `ld` apart.
template <class T>
struct Tiles {
    T* data;
    std::int64_t step, ld;
};

template <class T>
Tiles<T> packed_tiles(T* data, const Tiling& tiling, std::int64_t features) {
    return {data, features * tiling.tile, tiling.tile};
}

template <class T>
Edge<T> edge_of(const T* outside, bool feature_major, std::int64_t all_features, std::int64_t batch, std::int64_t example, int width,
                std::int64_t first, std::int64_t last, T* inside, std::int64_t ld_inside) {
    Edge<T> edge{};
    edge.ld = feature_major ? batch : all_features;
    edge.outside = const_cast<T*>(outside) + (feature_major ? first * batch + example : example * all_features + first);
    edge.feature_major = feature_major;
    edge.features = last - first;
    edge.count = std::clamp<std::int64_t>(batch - example, 0, width);
    edge.inside = inside;
    edge.ld_inside = ld_inside;
    edge.tile = width;
    return edge;
}

// This thread's share of packing `outside` (and masking it by `positive`) into `tiles`.
template <class T>
void pack_share(const Team& team, const T* outside, const T* positive, bool feature_major, std::int64_t features, std::int64_t batch,
                const Tiling& tiling, const Tiles<T>& tiles) {
    // Each thread's features of a tile lie side by side: long pieces of rows are fetched ahead.
    constexpr std::int64_t line = 16;
    const std::int64_t lines = (features + line - 1) / line;
    std::int64_t begin, end;
    team.share(lines * tiling.tiles, begin, end);
    while (begin < end) {
        const std::int64_t tile = begin / lines, from = begin % lines, to = std::min(from + end - begin, lines);
        const std::int64_t first = from * line, last = std::min(to * line, features);
        T* inside = tiles.data + tile * tiles.step + first * tiles.ld;
        Edge<T> edge = edge_of(outside, feature_major, features, batch, tile * tiling.tile, tiling.tile, first, last, inside, tiles.ld);
        if (positive) edge.positive = positive + (edge.outside - outside);
        primitives<T>().pack(edge);
        begin += to - from;
    }
}

// The features [first, last) of one tile, into `packed`, which has room for all.
template <class T>
void pack_tile(const T* outside, const T* positive, bool feature_major, std::int64_t features, std::int64_t batch, const Tiling& tiling,
               std::int64_t tile, std::int64_t first, std::int64_t last, T* packed) {
    Edge<T> edge = edge_of(outside, feature_major, features, batch, tile * tiling.tile, tiling.tile, first, last, packed + first * tiling.tile, tiling.tile);
    if (positive) edge.positive = positive + (edge.outside - outside);
    primitives<T>().pack(edge);
}

}  // namespace secateur
