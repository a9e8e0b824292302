#include "linear.h"

#include <algorithm>

#include "parallel.h"
#include "primitives.h"
#include "scratch.h"
#include "tiles.h"
#include "tiling.h"

namespace secateur {
namespace {

// Feature-major activations need no copy where whole tiles lie in them. Those of several tiles lie far apart and fall on few sets of the
// second-level cache: short rows alone are walked as fast there, and only where all of it fits.
template <class T>
bool usable_in_place(const Pattern& pattern, const Tiling& tiling, std::int64_t batch) {
    if (tiling.tiles == 1) return batch % tiling.tile == 0;
    const bool fits = std::max(pattern.rows(), pattern.columns()) * batch * std::int64_t(sizeof(T)) <= 4 * kFar;
    return batch % tiling.tile == 0 && fits && edges_matter(pattern, false);
}

// Neither does what a walk touches line after line, once: its output, and x beside the gradient of x. Several blocks would touch it again and again.
bool touched_in_place(const Tiling& tiling, std::int64_t batch, bool feature_major, std::int64_t lines) {
    return feature_major && batch % tiling.tile == 0 && lines <= tiling.width;
}

template <class T>
Tiles<T> in_place(T* data, const Tiling& tiling, std::int64_t batch) {
    return {data, tiling.tile, batch};
}

// What is packed is multiplied fastest in narrow tiles, one thread's or the other's; a batch that is a wide tile as it lies needs no packing.
template <class T>
Tiling forward_tiling(const Pattern& pattern, std::int64_t batch, bool feature_major) {
    const bool wide = feature_major && (batch == 128 || !small_blocks_pay<T>(pattern, batch));
    return tiling_for<T>(pattern, batch, feature_major, wide ? 128 : 64);
}

// A survivor's gradient is summed across the examples of a tile: the wider, the fewer such sums. Where registers do not hold that many
// examples, narrow tiles are better in small blocks, or where the batch is packed tile by tile.
template <class T>
Tiling backward_tiling(const Pattern& pattern, std::int64_t batch, bool feature_major) {
    const bool narrow = small_blocks_pay<T>(pattern, batch) || (!feature_major && batch >= kManyExamples);
    const bool held = primitives<T>().widest_gradients >= 128 && batch % 128 == 0 && !edges_matter(pattern, feature_major);
    return tiling_for<T>(pattern, batch, feature_major, narrow && !held ? 64 : 128);
}

// Into how many parts, of whole vectors, each tile is cut so that the parts can be shared out evenly; 0: threads share rows instead.
// A narrow part reads indices and values again, which dense rows would feel.
int cuts_of_a_tile(const Pattern& pattern, const Tiling& tiling, int threads) {
    if (tiling.tiles % threads == 0) return 1;
    const int width = int(tiling.tile * tiling.tiles / threads);
    const bool even = tiling.tiles < threads && tiling.tile * tiling.tiles % threads == 0 && width % 16 == 0 && tiling.tile % width == 0;
    return even && edges_matter(pattern, false) ? tiling.tile / width : 0;
}

// Whether each thread packs what it multiplies, instead of its share of all: what one core writes and another reads passes through slower
// caches than packing twice does, and far slower ones where the two cores have no cache in common.
bool packs_alone(int threads) { return threads <= 2; }

// Lines of a panel come in such numbers that vectors of them lie in whole cache lines of activations in torch's layout, if there are many.
std::int64_t lines_together(std::int64_t lines, int panels) {
    constexpr std::int64_t line = 16;
    return lines >= 4 * line * panels ? line : 1;
}

// Tiles are summed in two groups where edges cost as much as the walk, or where there are many: two threads then share no example.
int groups_of_tiles(const Pattern& pattern, const Tiling& tiling, bool feature_major) {
    return tiling.tiles > 1 && (tiling.padded() >= kManyExamples || edges_matter(pattern, feature_major)) ? 2 : 1;
}

template <class T>
void forward_of_one(const LinearForward<T>& layer, int threads) {
    const auto plan = layer.pattern->product_plan(65536, threads);
    parallel(threads, [&](Team& team) {
        int begin, end;
        team.share(plan->panels, begin, end);
        for (int panel = begin; panel < end; ++panel)
            primitives<T>().product_of_vector(plan->view(), panel, layer.pattern->low_columns(), layer.values, layer.x, layer.bias, layer.relu, layer.y);
    });
}

}  // namespace

template <class T>
void linear_forward(const LinearForward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const std::int64_t rows = pattern.rows(), columns = pattern.columns(), batch = layer.batch;
    if (batch == 0 || rows == 0) return;
    if (batch == 1) return forward_of_one(layer, threads_for(kOneExample * pattern.survivors(), layer.threads));
    const int threads = threads_for(pattern.survivors() * batch, layer.threads);
    const Tiling tiling = forward_tiling<T>(pattern, batch, layer.feature_major);
    const bool direct = layer.feature_major && usable_in_place<T>(pattern, tiling, batch);
    const bool written = direct || touched_in_place(tiling, batch, layer.feature_major, columns);
    const int cuts = direct ? 0 : cuts_of_a_tile(pattern, tiling, threads);
    const int sharing = cuts ? 1 : threads;  // of the rows
    const int panels = sharing * panels_near<T>((rows + sharing - 1) / sharing, tiling.tile / std::max(1, cuts));
    const auto plan = pattern.product_plan(tiling.width, panels, lines_together(rows, panels));
    const bool packs = !direct && !cuts && packs_alone(threads);
    T* packed = direct || cuts || packs ? nullptr : scratch_of<T>(Slot::packed_x, std::size_t(columns * tiling.padded()));
    const Tiles<T> x = direct ? in_place(const_cast<T*>(layer.x), tiling, batch) : packed_tiles(packed, tiling, columns);
    // The rows of one panel for the `width` examples from `at` of a tile on, which `inside` holds.
    const auto part = [&](std::int64_t tile, int at, int width, int panel, const T* inside, std::int64_t ld) {
        const std::int64_t first = plan->panel_lines[std::size_t(panel)], last = plan->panel_lines[std::size_t(panel) + 1];
        if (first == last) return;
        T* y = written ? layer.y + tile * tiling.tile + at : scratch_of<T>(Slot::output, std::size_t((last - first) * width));
        const std::int64_t ld_y = written ? batch : width;
        Product<T> product{};
        product.plan = plan->view();
        product.low_columns = pattern.low_columns();
        product.values = layer.values;
        product.x = inside;
        product.ld_x = ld;
        product.y = y;
        product.ld_y = ld_y;
        product.first_row = written ? 0 : first;
        product.bias = layer.bias;
        product.start = layer.bias ? Start::bias : Start::zero;
        product.relu = layer.relu;
        product.tile = width;
        primitives<T>().product(product, panel);
        if (written) return;
        const Edge<T> edge = edge_of<T>(layer.y, layer.feature_major, rows, batch, tile * tiling.tile + at, width, first, last, y, ld_y);
        if (edge.count > 0) primitives<T>().unpack(edge);
    };
    parallel(threads, [&](Team& team) {
        std::int64_t begin, end;
        if (cuts) {
            // Each thread packs and multiplies examples of its own: nothing passes from core to core.
            const int width = tiling.tile / cuts;
            team.share(tiling.tiles * cuts, begin, end);
            for (std::int64_t item = begin; item < end; ++item) {
                const std::int64_t tile = item / cuts;
                const int at = int(item % cuts) * width;
                T* inside = scratch_of<T>(Slot::packed_x, std::size_t(columns * width));
                primitives<T>().pack(
                    edge_of<T>(layer.x, layer.feature_major, columns, batch, tile * tiling.tile + at, width, 0, columns, inside, width));
                for (int panel = 0; panel < plan->panels; ++panel) part(tile, at, width, panel, inside, width);
            }
            return;
        }
        if (!direct && !packs) {
            pack_share<T>(team, layer.x, nullptr, layer.feature_major, columns, batch, tiling, x);
            team.barrier();
        }
        team.share(tiling.tiles * plan->panels, begin, end);
        for (std::int64_t item = begin; item < end; ++item) {
            const std::int64_t tile = item / plan->panels;
            const int panel = int(item % plan->panels);
            T* own = packs ? scratch_of<T>(Slot::packed_x, std::size_t(columns * tiling.tile)) : nullptr;
            if (own && (item == begin || panel == 0))
                pack_tile<T>(layer.x, nullptr, layer.feature_major, columns, batch, tiling, tile, 0, columns, own);
            part(tile, 0, tiling.tile, panel, own ? own : x.data + tile * x.step, x.ld);
        }
    });
}

template <class T>
void linear_backward(const LinearBackward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const std::int64_t rows = pattern.rows(), columns = pattern.columns(), batch = layer.batch;
    const int threads = threads_for(2 * pattern.survivors() * batch, layer.threads);
    const Tiling tiling = backward_tiling<T>(pattern, batch, layer.feature_major);
    if (batch == 0) {
        if (layer.dvalues) std::fill_n(layer.dvalues, pattern.survivors(), T(0));
        if (layer.dbias) std::fill_n(layer.dbias, rows, T(0));
        return;
    }
    const bool placed = layer.feature_major && usable_in_place<T>(pattern, tiling, batch);
    const bool direct_dy = placed && !layer.y;
    const bool direct_x = placed || touched_in_place(tiling, batch, layer.feature_major, rows);
    const bool pack_x = layer.dvalues && !direct_x;
    // Sums over the batch are made group by group and added up at the end, whatever the number of threads.
    const int groups = groups_of_tiles(pattern, tiling, layer.feature_major);
    // As many columns at a time as leave their sums near from block to block.
    const int sharing = std::max(1, threads / groups);
    const int panels = sharing * panels_near<T>((columns + sharing - 1) / sharing, tiling.tile);
    const auto plan = pattern.gradient_plan(tiling.width, panels, primitives<T>().columns_at_once(tiling.tile), lines_together(columns, panels));
    // Each thread packs what it walks, a tile at a time: a tile that has been walked is not needed again.
    const bool by_group = groups > 1 && sharing == 1, alone = by_group || packs_alone(threads);
    T* packed_dy = direct_dy || alone ? nullptr : scratch_of<T>(Slot::packed_dy, std::size_t(rows * tiling.padded()));
    const Tiles<T> dy = direct_dy ? in_place(const_cast<T*>(layer.dy), tiling, batch) : packed_tiles(packed_dy, tiling, rows);
    T* packed_x = !pack_x || alone ? nullptr : scratch_of<T>(Slot::packed_x, std::size_t(columns * tiling.padded()));
    const Tiles<T> x = direct_x ? in_place(const_cast<T*>(layer.x), tiling, batch) : packed_tiles(packed_x, tiling, columns);
    const std::size_t entries = (plan->rows.size() + 15) / 16 * 16;
    T* dvalues = layer.dvalues ? scratch_of<T>(Slot::dvalues, entries * std::size_t(groups)) : nullptr;
    // Where they stay near, at least: larger ones gain nothing.
    const bool near = std::int64_t(entries * sizeof(T)) <= 4 * kFar;
    T* ordered = layer.dvalues && by_group && near ? scratch_of<T>(Slot::ordered, entries * std::size_t(groups)) : nullptr;
    T* dbias = layer.dbias && groups > 1 ? scratch_of<T>(Slot::dbias, std::size_t(rows * groups)) : layer.dbias;
    const auto first_tile = [&](int group) { return tiling.tiles * group / groups; };
    const auto tile_of_dy = [&](std::int64_t tile) {
        return direct_dy || !alone ? dy.data + tile * dy.step : scratch_of<T>(Slot::packed_dy, std::size_t(rows * tiling.tile));
    };
    const auto tile_of_x = [&](std::int64_t tile) {
        return pack_x && alone ? scratch_of<T>(Slot::packed_x, std::size_t(columns * tiling.tile)) : x.data + tile * x.step;
    };
    const auto walk = [&](int group, int panel, std::int64_t tile) {
        const std::int64_t first = plan->panel_lines[std::size_t(panel)], last = plan->panel_lines[std::size_t(panel) + 1];
        if (first == last) return;
        Gradients<T> task{};
        task.plan = plan->view();
        task.values = layer.values;
        task.x = layer.dvalues ? tile_of_x(tile) : nullptr;
        task.ld_x = x.ld;
        task.dy = tile_of_dy(tile);
        task.ld_dy = dy.ld;
        task.ld_dx = direct_x ? batch : tiling.tile;
        if (layer.dx) {
            task.dx = direct_x ? layer.dx + tile * tiling.tile : scratch_of<T>(Slot::output, std::size_t((last - first) * tiling.tile));
            task.first_column = direct_x ? 0 : first;
        }
        task.ahead = direct_x && !small_blocks_pay<T>(pattern, batch);
        task.dvalues = dvalues + entries * std::size_t(group);
        task.add_dvalues = tile > first_tile(group);
        task.tile = tiling.tile;
        primitives<T>().gradients(task, panel);
        if (layer.dx && !direct_x)
            primitives<T>().unpack(
                edge_of<T>(layer.dx, layer.feature_major, columns, batch, tile * tiling.tile, tiling.tile, first, last, task.dx, tiling.tile));
    };
    // The bias's gradients of the rows [first, last).
    const auto sum_rows = [&](int group, std::int64_t tile, std::int64_t first, std::int64_t last) {
        if (!layer.dbias) return;
        primitives<T>().row_sums(tile_of_dy(tile) + first * dy.ld, dy.ld, last - first, tiling.tile, tile > first_tile(group),
                                 dbias + rows * group + first);
    };
    parallel(threads, [&](Team& team) {
        std::int64_t first, last;
        int begin, end;
        team.share(by_group ? groups : groups * panels, begin, end);
        if (by_group) begin *= panels, end *= panels;
        team.share(rows, first, last);
        if (by_group) first = 0, last = rows;
        if (!alone) {
            if (!direct_dy) pack_share<T>(team, layer.dy, layer.y, layer.feature_major, rows, batch, tiling, dy);
            if (pack_x) pack_share<T>(team, layer.x, nullptr, layer.feature_major, columns, batch, tiling, x);
            if (!direct_dy || pack_x) team.barrier();
            for (int group = 0; group < groups; ++group)
                for (std::int64_t tile = first_tile(group); tile < first_tile(group + 1); ++tile) sum_rows(group, tile, first, last);
        }
        while (begin < end) {
            // This thread's panels of one group.
            const int group = begin / panels, from = begin % panels, to = std::min(from + end - begin, panels);
            const std::int64_t line = plan->panel_lines[std::size_t(from)], end_line = plan->panel_lines[std::size_t(to)];
            for (std::int64_t tile = first_tile(group); tile < first_tile(group + 1); ++tile) {
                if (alone) {
                    if (!direct_dy) pack_tile<T>(layer.dy, layer.y, layer.feature_major, rows, batch, tiling, tile, 0, rows, tile_of_dy(tile));
                    if (pack_x) pack_tile<T>(layer.x, nullptr, layer.feature_major, columns, batch, tiling, tile, line, end_line, tile_of_x(tile));
                    sum_rows(group, tile, first, last);
                }
                for (int panel = from; panel < to; ++panel) walk(group, panel, tile);
            }
            if (ordered)
                primitives<T>().reorder(dvalues + entries * std::size_t(group), nullptr, plan->order.data(), pattern.survivors(),
                                        ordered + entries * std::size_t(group));
            begin += to - from;
        }
        // Written in the order of the plan and put in order at the end: threads that shared the cache lines of a row's values would
        // take them from one another at every write. Those of two groups are put in order where they were made, then read as they lie.
        if (layer.dvalues || groups > 1) team.barrier();
        if (layer.dvalues) {
            team.share(pattern.survivors(), first, last);
            if (ordered)
                for (std::int64_t i = first; i < last; ++i) layer.dvalues[i] = ordered[i] + ordered[entries + std::size_t(i)];
            else
                primitives<T>().reorder(dvalues, groups > 1 ? dvalues + entries : nullptr, plan->order.data() + first, last - first, layer.dvalues + first);
        }
        if (layer.dbias && groups > 1) {
            team.share(rows, first, last);
            for (std::int64_t row = first; row < last; ++row) layer.dbias[row] = dbias[row] + dbias[rows + row];
        }
    });
}

template void linear_forward<float>(const LinearForward<float>&);
template void linear_forward<double>(const LinearForward<double>&);
template void linear_backward<float>(const LinearBackward<float>&);
template void linear_backward<double>(const LinearBackward<double>&);

}  // namespace secateur
