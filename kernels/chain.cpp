#include "chain.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "parallel.h"
#include "primitives.h"
#include "scratch.h"
#include "tiles.h"
#include "tiling.h"

namespace secateur {
namespace {

template <class T>
struct Planned {
    ChainLayer<T> layer;
    std::shared_ptr<const Plan> plan;
};

// The rows of one panel for one tile: from (columns, tile) to (rows, tile).
template <class T>
void multiply(const Planned<T>& planned, int panel, int tile, const T* from, T* to) {
    Product<T> product{};
    product.plan = planned.plan->view();
    product.low_columns = planned.layer.pattern->low_columns();
    product.values = planned.layer.values;
    product.x = from;
    product.ld_x = tile;
    product.y = to;
    product.ld_y = tile;
    product.bias = planned.layer.bias;
    product.start = planned.layer.bias ? Start::bias : Start::zero;
    product.relu = planned.layer.relu;
    product.tile = tile;
    primitives<T>().product(product, panel);
}

// Several threads share each layer's rows of one tile and wait for one another after it.
template <class T>
void tile_together(Team& team, const std::vector<Planned<T>>& chain, const T* x, std::int64_t batch, std::int64_t example, int tile, T* from,
                   T* to, T* y) {
    constexpr std::int64_t chunk = 64;
    const std::int64_t columns = chain.front().layer.pattern->columns(), rows = chain.back().layer.pattern->rows();
    std::int64_t first, last;
    team.share((columns + chunk - 1) / chunk, first, last);
    first *= chunk;
    last = std::min(last * chunk, columns);
    if (first < last) primitives<T>().pack(edge_of(x, false, columns, batch, example, tile, first, last, from + first * tile, tile));
    for (const Planned<T>& planned : chain) {
        team.barrier();
        for (int panel = team.rank(); panel < planned.plan->panels; panel += team.size()) multiply(planned, panel, tile, from, to);
        std::swap(from, to);
    }
    const Plan& plan = *chain.back().plan;
    for (int panel = team.rank(); panel < plan.panels; panel += team.size()) {
        const std::int64_t begin = plan.panel_lines[std::size_t(panel)], end = plan.panel_lines[std::size_t(panel) + 1];
        if (begin < end) primitives<T>().unpack(edge_of(y, false, rows, batch, example, tile, begin, end, from + begin * tile, tile));
    }
    team.barrier();
}

// One thread takes a tile from the first layer to the last.
template <class T>
void tile_alone(const std::vector<Planned<T>>& chain, const T* x, std::int64_t batch, std::int64_t example, int tile, T* from, T* to, T* y) {
    const std::int64_t columns = chain.front().layer.pattern->columns(), rows = chain.back().layer.pattern->rows();
    primitives<T>().pack(edge_of(x, false, columns, batch, example, tile, 0, columns, from, tile));
    for (const Planned<T>& planned : chain) {
        for (int panel = 0; panel < planned.plan->panels; ++panel) multiply(planned, panel, tile, from, to);
        std::swap(from, to);
    }
    primitives<T>().unpack(edge_of(y, false, rows, batch, example, tile, 0, rows, from, tile));
}

template <class T>
void one_example(const std::vector<ChainLayer<T>>& layers, std::int64_t widest, const T* x, T* y, int threads) {
    std::vector<Planned<T>> chain;
    for (const ChainLayer<T>& layer : layers) chain.push_back({layer, layer.pattern->product_plan(65536, threads)});
    T* between[] = {scratch_of<T>(Slot::packed_x, std::size_t(widest)), scratch_of<T>(Slot::output, std::size_t(widest))};
    parallel(threads, [&](Team& team) {
        const T* from = x;
        for (std::size_t i = 0; i < chain.size(); ++i) {
            const auto& [layer, plan] = chain[i];
            T* to = i + 1 == chain.size() ? y : between[i % 2];
            if (i > 0) team.barrier();
            for (int panel = team.rank(); panel < plan->panels; panel += team.size())
                primitives<T>().product_of_vector(plan->view(), panel, layer.pattern->low_columns(), layer.values, from, layer.bias, layer.relu, to);
            from = to;
        }
    });
}

// The same for every number of threads, since sums follow it.
template <class T>
int tile_of(const std::vector<ChainLayer<T>>& layers, std::int64_t batch) {
    // Where rows are short, what one core reads of another's costs more than reading values again for half of the examples.
    constexpr std::int64_t few = 256;
    int tile = kTiles[std::size(kTiles) - 1];
    bool halves = true;
    for (const ChainLayer<T>& layer : layers) {
        tile = std::min(tile, tiling_for<T>(*layer.pattern, batch, true, small_blocks_pay<T>(*layer.pattern, batch) ? 64 : 128).tile);
        halves = halves && layer.pattern->survivors() <= few * layer.pattern->rows();
    }
    constexpr std::int64_t narrowest = 32;
    const std::int64_t half = std::max(narrowest, (batch + 1) / 2);
    return halves && half < tile ? *std::lower_bound(std::begin(kTiles), std::end(kTiles), half) : tile;
}

}  // namespace

template <class T>
void chain_forward(const std::vector<ChainLayer<T>>& layers, const T* x, std::int64_t batch, T* y, int wanted) {
    if (batch == 0) return;
    std::int64_t survivors = 0, widest = layers.front().pattern->columns();
    for (const ChainLayer<T>& layer : layers) {
        survivors += layer.pattern->survivors();
        widest = std::max(widest, layer.pattern->rows());
    }
    if (batch == 1) return one_example(layers, widest, x, y, threads_for(kOneExample * survivors, wanted));
    const int threads = threads_for(survivors * batch, wanted);
    const int tile = tile_of(layers, batch);
    const std::int64_t tiles = (batch + tile - 1) / tile;
    const bool alone = tiles % threads == 0 || tiles >= 4 * threads;
    const int sharing = alone ? 1 : threads;  // of a layer's rows
    std::vector<Planned<T>> chain;
    for (const ChainLayer<T>& layer : layers) {
        const int panels = sharing * panels_near<T>((layer.pattern->rows() + sharing - 1) / sharing, tile);
        chain.push_back({layer, layer.pattern->product_plan(block_width<T>(*layer.pattern, tile, batch), panels)});
    }
    const std::size_t numbers = std::size_t(widest * tile);
    T* shared[] = {alone ? nullptr : scratch_of<T>(Slot::packed_x, numbers), alone ? nullptr : scratch_of<T>(Slot::output, numbers)};
    parallel(threads, [&](Team& team) {
        if (!alone) {
            for (std::int64_t i = 0; i < tiles; ++i) tile_together(team, chain, x, batch, i * tile, tile, shared[0], shared[1], y);
            return;
        }
        std::int64_t begin, end;
        team.share(tiles, begin, end);
        for (std::int64_t i = begin; i < end; ++i)
            tile_alone(chain, x, batch, i * tile, tile, scratch_of<T>(Slot::packed_x, numbers), scratch_of<T>(Slot::output, numbers), y);
    });
}

template void chain_forward<float>(const std::vector<ChainLayer<float>>&, const float*, std::int64_t, float*, int);
template void chain_forward<double>(const std::vector<ChainLayer<double>>&, const double*, std::int64_t, double*, int);

}  // namespace secateur
