// What the two passes of a recurrent layer share: how its work is cut, and where a step's rows lie.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"
#include "primitives.h"
#include "recurrent_slices.h"
#include "recurrent_steps.h"

namespace secateur {

constexpr std::int64_t kFirstLevelCache = 32 * 1024;

// Threads that one step keeps busy: they wait for one another at each.
inline int threads_for_steps(std::int64_t survivors, std::int64_t units, std::int64_t lanes, int wanted) {
    constexpr std::int64_t enough = 40'000;
    const std::int64_t useful = 1 + (survivors + 40 * units) * lanes / enough;
    return int(std::min<std::int64_t>({useful, wanted, units}));
}

inline std::int64_t power_of_two_below(std::int64_t number) {
    std::int64_t power = 1;
    while (2 * power <= number) power *= 2;
    return power;
}

// Operands of a block, `bytes` each: as many as the first-level cache holds where a line then still has enough survivors there.
inline std::int64_t block_width(double density, std::int64_t bytes) {
    constexpr double fewest = 8;
    const std::int64_t fitting = power_of_two_below(std::max<std::int64_t>(1, kFirstLevelCache / bytes));
    return density * double(fitting) >= fewest ? fitting : 65536;
}

// Sums of `sizes` numbers each, one after another, aligned to 64 bytes.
template <class T>
class Arena {
  public:
    std::int64_t reserve(std::int64_t numbers) {
        constexpr std::int64_t line = 64 / std::int64_t(sizeof(T));
        const std::int64_t at = size_;
        size_ += (numbers + line - 1) / line * line;
        return at;
    }
    std::int64_t size() const { return size_; }

  private:
    std::int64_t size_ = 0;
};

// The values of a panel in the order of its slices.
template <class T>
void order_values(const Slices& slices, int panel, const T* values, T* ordered) {
    for (std::uint32_t i = slices.panel_entries[std::size_t(panel)]; i < slices.panel_entries[std::size_t(panel) + 1]; ++i)
        ordered[i] = slices.places[i] == Slices::kFilling ? T(0) : values[slices.places[i]];
}

// One chunk's product: sums (+)= W x over all blocks.
template <class T>
void chunk_product(const Slices& slices, std::size_t chunk, const T* ordered, const T* x, std::int64_t ld_x, T* sums, std::int64_t ld_sums,
                   bool add, std::int64_t lanes) {
    for (std::int64_t block = 0; block < slices.blocks; ++block) {
        const SlicePiece& piece = slices.pieces[chunk * std::size_t(slices.blocks) + std::size_t(block)];
        StepProduct<T> task{};
        task.slices = slices.slices.data() + piece.first_slice;
        task.count = piece.slices;
        task.operands = slices.operands.data();
        task.values = ordered;
        task.x = x + piece.base * ld_x;
        task.ld_x = ld_x;
        task.sums = sums;
        task.ld_sums = ld_sums;
        task.add = add || block > 0;
        task.lanes = lanes;
        recurrent_primitives<T>().step_product(task);
    }
}

// This thread's share of copying a state (batch, features), zero where null, into rows of `lanes` examples; and back.
template <class T>
void state_rows(const Team& team, const T* state, std::int64_t features, const Steps& steps, T* rows, std::int64_t ld) {
    std::int64_t first, last;
    team.share(features, first, last);
    if (first == last) return;
    if (!state) return std::fill(rows + first * ld, rows + last * ld, T(0));
    Edge<T> edge{};
    edge.outside = const_cast<T*>(state) + first;
    edge.ld = features;
    edge.features = last - first;
    edge.count = steps.batch();
    edge.inside = rows + first * ld;
    edge.ld_inside = ld;
    edge.tile = int(steps.lanes());
    primitives<T>().pack(edge);
}

template <class T>
void rows_to_state(const Team& team, const T* rows, std::int64_t features, const Steps& steps, std::int64_t ld, T* state) {
    std::int64_t first, last;
    team.share(features, first, last);
    if (first == last || !state) return;
    Edge<T> edge{};
    edge.outside = state + first;
    edge.ld = features;
    edge.features = last - first;
    edge.count = steps.batch();
    edge.inside = const_cast<T*>(rows) + first * ld;
    edge.ld_inside = ld;
    edge.tile = int(steps.lanes());
    primitives<T>().unpack(edge);
}

// The steps in the order of a direction: tile by tile.
struct Direction {
    const Steps& steps;
    bool descending;
    std::int64_t tiles() const { return std::int64_t(steps.tiles().size()); }
    const StepTile& tile(std::int64_t i) const { return steps.tiles()[std::size_t(descending ? tiles() - 1 - i : i)]; }
    std::int64_t count(const StepTile& tile) const { return tile.last_step - tile.first_step; }
    const Step& step(const StepTile& tile, std::int64_t i) const {
        return steps.steps()[std::size_t(descending ? tile.last_step - 1 - i : tile.first_step + i)];
    }
};

// Columns of a tile that hold steps; the others are zero.
inline std::int64_t used_columns(const Steps& steps, const StepTile& tile) {
    const Step& last = steps.steps()[std::size_t(tile.last_step - 1)];
    return last.offset + last.lanes;
}

template <class T>
void clear_columns(T* rows, std::int64_t ld, std::int64_t first_row, std::int64_t last_row, std::int64_t used) {
    if (used < ld)
        for (std::int64_t row = first_row; row < last_row; ++row) std::fill(rows + row * ld + used, rows + (row + 1) * ld, T(0));
}

}  // namespace secateur
