#include "conv.h"

#include <algorithm>
#include <vector>

#include "parallel.h"
#include "primitives.h"
#include "scratch.h"
#include "tiling.h"

namespace secateur {
namespace {

constexpr int kTile = 64;

// All examples lie one after another along a row, `pitch` apart; the row ends with room for the last tile and its taps.
struct Rows {
    std::int64_t used, tiles, ld;
    explicit Rows(const ConvShape& shape) {
        used = shape.batch * shape.pitch();
        tiles = (used + kTile - 1) / kTile;
        const std::int64_t numbers = tiles * kTile + shape.reach() / shape.stride + 1;
        // An odd number of cache lines: rows a power of two apart would share few sets of the cache.
        ld = ((numbers + 15) / 16 | 1) * 16;
    }
};

std::vector<std::int32_t> offsets_of(const ConvShape& shape, std::int64_t ld) {
    std::vector<std::int32_t> offsets;
    offsets.reserve(std::size_t(shape.channels * shape.taps));
    for (std::int64_t channel = 0; channel < shape.channels; ++channel)
        for (std::int64_t tap = 0; tap < shape.taps; ++tap) {
            const std::int64_t at = tap * shape.dilation;
            offsets.push_back(std::int32_t((channel * shape.stride + at % shape.stride) * ld + at / shape.stride));
        }
    return offsets;
}

// The padded input of some channels, phase by phase.
template <class T>
void pack_channels(const ConvShape& shape, std::int64_t first, std::int64_t last, const T* x, std::int64_t ld, T* packed) {
    const std::int64_t pitch = shape.pitch(), stride = shape.stride;
    std::fill(packed + first * stride * ld, packed + last * stride * ld, T(0));
    for (std::int64_t channel = first; channel < last; ++channel)
        for (std::int64_t example = 0; example < shape.batch; ++example) {
            const T* from = x + (example * shape.channels + channel) * shape.length;
            T* to = packed + channel * stride * ld + example * pitch;
            if (stride == 1) {
                std::copy_n(from, shape.length, to + shape.padding);
                continue;
            }
            for (std::int64_t i = 0; i < shape.length; ++i) {
                const std::int64_t at = i + shape.padding;
                to[at % stride * ld + at / stride] = from[i];
            }
        }
}

template <class T>
void unpack_channels(const ConvShape& shape, std::int64_t first, std::int64_t last, const T* packed, std::int64_t ld, T* x) {
    const std::int64_t pitch = shape.pitch(), stride = shape.stride;
    for (std::int64_t channel = first; channel < last; ++channel)
        for (std::int64_t example = 0; example < shape.batch; ++example) {
            T* to = x + (example * shape.channels + channel) * shape.length;
            const T* from = packed + channel * stride * ld + example * pitch;
            for (std::int64_t i = 0; i < shape.length; ++i) {
                const std::int64_t at = i + shape.padding;
                to[i] = stride == 1 ? from[at] : from[at % stride * ld + at / stride];
            }
        }
}

}  // namespace

template <class T>
std::int64_t conv_packed_size(const ConvShape& shape) {
    return shape.channels * shape.stride * Rows(shape).ld;
}

template <class T>
void conv_forward(const ConvForward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const ConvShape& shape = layer.shape;
    const std::int64_t outputs = pattern.rows(), positions = shape.positions(), pitch = shape.pitch();
    if (shape.batch == 0 || positions == 0 || outputs == 0) return;
    const Rows rows(shape);
    const int threads = threads_for(pattern.survivors() * rows.used, layer.threads);
    const auto offsets = offsets_of(shape, rows.ld);
    const auto plan = pattern.product_plan(65536, 1);
    T* packed = layer.packed ? layer.packed : scratch_of<T>(Slot::packed_x, std::size_t(conv_packed_size<T>(shape)));
    T* sums = scratch_of<T>(Slot::output, std::size_t(outputs * rows.tiles * kTile));
    parallel(threads, [&](Team& team) {
        std::int64_t first, last;
        team.share(shape.channels, first, last);
        pack_channels(shape, first, last, layer.x, rows.ld, packed);
        team.barrier();
        team.share(rows.tiles, first, last);
        for (std::int64_t tile = first; tile < last; ++tile) {
            Product<T> product{};
            product.plan = plan->view();
            product.low_columns = pattern.low_columns();
            product.values = layer.values;
            product.x = packed + tile * kTile;
            product.offsets = offsets.data();
            product.y = sums + tile * outputs * kTile;
            product.ld_y = kTile;
            product.bias = layer.bias;
            product.start = layer.bias ? Start::bias : Start::zero;
            product.relu = layer.relu;
            product.tile = kTile;
            primitives<T>().product(product, 0);
        }
        team.barrier();
        team.share(shape.batch, first, last);
        for (std::int64_t example = first; example < last; ++example)
            for (std::int64_t output = 0; output < outputs; ++output) {
                T* to = layer.y + (example * outputs + output) * positions;
                for (std::int64_t i = 0; i < positions;) {
                    const std::int64_t at = example * pitch + i, tile = at / kTile;
                    const std::int64_t n = std::min(positions - i, (tile + 1) * kTile - at);
                    const T* from = sums + (tile * outputs + output) * kTile + at % kTile;
                    std::copy_n(from, n, to + i);
                    i += n;
                }
            }
    });
}

template <class T>
void conv_backward(const ConvBackward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const ConvShape& shape = layer.shape;
    const std::int64_t outputs = pattern.rows(), positions = shape.positions(), pitch = shape.pitch();
    if (shape.batch == 0 || positions == 0 || outputs == 0) {
        if (layer.dx) std::fill_n(layer.dx, shape.batch * shape.channels * shape.length, T(0));
        if (layer.dvalues) std::fill_n(layer.dvalues, pattern.survivors(), T(0));
        if (layer.dbias) std::fill_n(layer.dbias, outputs, T(0));
        return;
    }
    const Rows rows(shape);
    const int threads = threads_for(2 * pattern.survivors() * rows.used, layer.threads);
    const auto offsets = offsets_of(shape, rows.ld);
    // A panel holds whole channels, whose rows of dx one thread then owns. Columns go one by one: the taps of a channel add to the same numbers.
    const auto plan = pattern.gradient_plan(65536, threads, 1, shape.taps);
    T* dy = scratch_of<T>(Slot::packed_dy, std::size_t(outputs * rows.tiles * kTile));
    T* dx = layer.dx ? scratch_of<T>(Slot::output, std::size_t(conv_packed_size<T>(shape))) : nullptr;
    T* dvalues = layer.dvalues ? scratch_of<T>(Slot::dvalues, plan->rows.size()) : nullptr;
    parallel(threads, [&](Team& team) {
        std::int64_t first, last;
        team.share(rows.tiles, first, last);
        for (std::int64_t tile = first; tile < last; ++tile)
            for (std::int64_t output = 0; output < outputs; ++output) {
                T* to = dy + (tile * outputs + output) * kTile;
                for (std::int64_t i = 0; i < kTile;) {
                    const std::int64_t at = tile * kTile + i, example = at / pitch, position = at % pitch;
                    const std::int64_t n = std::min<std::int64_t>(kTile - i, pitch - position);
                    const std::int64_t valid = example < shape.batch ? std::clamp<std::int64_t>(positions - position, 0, n) : 0;
                    const std::int64_t from = (example * outputs + output) * positions + position;
                    for (std::int64_t j = 0; j < valid; ++j) to[i + j] = !layer.y || layer.y[from + j] > T(0) ? layer.dy[from + j] : T(0);
                    std::fill(to + i + valid, to + i + n, T(0));
                    i += n;
                }
            }
        team.barrier();
        if (layer.dbias) {
            team.share(outputs, first, last);
            for (std::int64_t tile = 0; tile < rows.tiles; ++tile)
                primitives<T>().row_sums(dy + (tile * outputs + first) * kTile, kTile, last - first, kTile, tile > 0, layer.dbias + first);
        }
        int from_panel, to_panel;
        team.share(plan->panels, from_panel, to_panel);
        for (int panel = from_panel; panel < to_panel; ++panel) {
            first = plan->panel_lines[std::size_t(panel)] / shape.taps;
            last = plan->panel_lines[std::size_t(panel) + 1] / shape.taps;
            if (first == last) continue;
            if (dx) std::fill(dx + first * shape.stride * rows.ld, dx + last * shape.stride * rows.ld, T(0));
            for (std::int64_t tile = 0; tile < rows.tiles; ++tile) {
                Gradients<T> task{};
                task.plan = plan->view();
                task.values = layer.values;
                task.x = dvalues ? layer.packed + tile * kTile : nullptr;
                task.offsets = offsets.data();
                task.dy = dy + tile * outputs * kTile;
                task.ld_dy = kTile;
                task.dx = dx ? dx + tile * kTile : nullptr;
                task.add_dx = true;
                task.dvalues = dvalues;
                task.add_dvalues = tile > 0;
                task.tile = kTile;
                primitives<T>().gradients(task, panel);
            }
            if (dx) unpack_channels(shape, first, last, dx, rows.ld, layer.dx);
        }
        if (dvalues) {
            team.barrier();
            team.share(pattern.survivors(), first, last);
            primitives<T>().reorder(dvalues, nullptr, plan->order.data() + first, last - first, layer.dvalues + first);
        }
    });
}

template std::int64_t conv_packed_size<float>(const ConvShape&);
template std::int64_t conv_packed_size<double>(const ConvShape&);
template void conv_forward<float>(const ConvForward<float>&);
template void conv_forward<double>(const ConvForward<double>&);
template void conv_backward<float>(const ConvBackward<float>&);
template void conv_backward<double>(const ConvBackward<double>&);

}  // namespace secateur
