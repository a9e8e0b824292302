#include <algorithm>

#include "parallel.h"
#include "primitives.h"
#include "recurrent.h"
#include "tiling.h"

namespace secateur {
namespace {

template <class T>
Edge<T> edge_of(const TileEdge<T>& task, const Step& step, std::int64_t first, std::int64_t last) {
    const StepTile& tile = task.steps->tiles()[std::size_t(step.tile)];
    const std::int64_t index = &step - task.steps->steps().data(), steps = std::int64_t(task.steps->steps().size()), batch = task.steps->batch();
    Edge<T> edge{};
    edge.feature_major = task.arrangement == Arrangement::feature_first;
    edge.features = last - first;
    edge.count = step.count;
    edge.tile = int(step.lanes);
    edge.inside = task.tiled + task.features * tile.first_column + first * tile.width + step.offset;
    edge.ld_inside = tile.width;
    switch (task.arrangement) {
        case Arrangement::steps_first:
            edge.outside = task.outside + step.first * task.features + first;
            edge.ld = task.features;
            break;
        case Arrangement::batch_first:
            edge.outside = task.outside + index * task.features + first;
            edge.ld = steps * task.features;
            break;
        case Arrangement::feature_first:
            edge.outside = task.outside + (first * steps + index) * batch;
            edge.ld = steps * batch;
            break;
    }
    return edge;
}

// The columns of a tile that belong to no step become zero.
template <class T>
void clear_padding(const TileEdge<T>& task, const StepTile& tile, std::int64_t first, std::int64_t last) {
    const Step& step = task.steps->steps()[std::size_t(tile.last_step - 1)];
    const std::int64_t used = step.offset + step.lanes;
    if (used == tile.width) return;
    for (std::int64_t feature = first; feature < last; ++feature) {
        T* row = task.tiled + task.features * tile.first_column + feature * tile.width;
        std::fill(row + used, row + tile.width, T(0));
    }
}

// Each tile and chunk of features once.
template <class T, class F>
void for_each_part(const TileEdge<T>& task, const F& f) {
    constexpr std::int64_t chunk = 64;
    const std::int64_t chunks = (task.features + chunk - 1) / chunk, tiles = std::int64_t(task.steps->tiles().size());
    const int threads = threads_for(8 * task.features * task.steps->columns(), task.threads);
    parallel(threads, [&](Team& team) {
        std::int64_t begin, end;
        team.share(tiles * chunks, begin, end);
        for (std::int64_t item = begin; item < end; ++item) {
            const StepTile& tile = task.steps->tiles()[std::size_t(item / chunks)];
            const std::int64_t first = item % chunks * chunk, last = std::min(first + chunk, task.features);
            f(tile, first, last);
        }
    });
}

}  // namespace

template <class T>
void into_tiles(const TileEdge<T>& task) {
    for_each_part(task, [&](const StepTile& tile, std::int64_t first, std::int64_t last) {
        for (std::int64_t step = tile.first_step; step < tile.last_step; ++step)
            primitives<T>().pack(edge_of(task, task.steps->steps()[std::size_t(step)], first, last));
        clear_padding(task, tile, first, last);
    });
}

template <class T>
void out_of_tiles(const TileEdge<T>& task) {
    for_each_part(task, [&](const StepTile& tile, std::int64_t first, std::int64_t last) {
        for (std::int64_t step = tile.first_step; step < tile.last_step; ++step)
            primitives<T>().unpack(edge_of(task, task.steps->steps()[std::size_t(step)], first, last));
    });
}

template void into_tiles<float>(const TileEdge<float>&);
template void into_tiles<double>(const TileEdge<double>&);
template void out_of_tiles<float>(const TileEdge<float>&);
template void out_of_tiles<double>(const TileEdge<double>&);

}  // namespace secateur
