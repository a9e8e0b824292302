// Both gradients of a sparse product in one walk over its survivors, by columns: each row of dy that is fetched for the
// input's gradient, dx = W^T dy, serves the survivor's own, dvalue = <dy row, x column>.
#pragma once

#include "primitives.h"
#include "simd.h"
#include "spmm.h"

namespace secateur::SECATEUR_ISA {

// Partial dot products wait here, one vector each, until W of them can be summed across their lanes at once.
template <class T, int W>
struct Dots {
    static constexpr int capacity = 4 * W;
    alignas(64) T partial[capacity * W];
    int filled = 0;
    T* to;  // where the first one's sum goes; the others follow
    bool add;

    SECATEUR_INLINE Vec<T, W> sums(int from) const {
        Vec<T, W> v[W];
        SECATEUR_UNROLL for (int j = 0; j < W; ++j) v[j] = load<W>(partial + (from + j) * W);
        add_lanes<W, T>(v);
        return v[0];
    }

    __attribute__((noinline)) void write() {
        int i = 0;
        for (; i + W <= filled; i += W) store<W>(to + i, add ? load<W>(to + i) + sums(i) : sums(i));
        if (i < filled) {
            const Vec<T, W> last = sums(i);
            for (int j = 0; i + j < filled; ++j) to[i + j] = (add ? to[i + j] : T(0)) + last[j];
        }
        to += filled;
        filled = 0;
    }
};

template <class T, int W, int N, bool Dx, bool Dvalues, class Where, class Row>
void gradients_piece(const Gradients<T>& task, const Piece& piece, bool first, Where where, Row row, int at) {
    const Segment* segment = task.plan.segments + piece.first_segment;
    const Group* group = task.plan.groups + piece.first_group;
    const T* dy = task.dy + at + piece.base * task.ld_dy;
    const std::uint16_t* rows = task.plan.rows;
    const std::uint32_t* places = task.plan.places;
    const bool add = task.add_dx || !first;
    Dots<T, W> dots;
    if constexpr (Dvalues) {
        dots.add = task.add_dvalues || at > 0;
        dots.to = task.dvalues + (piece.groups ? segment->start : 0);
    }
    for (std::uint32_t g = 0; g < piece.groups; ++g) {
        const std::uint32_t length = group[g].length;
        for (std::uint32_t s = 0; s < group[g].segments; ++s, ++segment) {
            Vec<T, W> x[N], dx[N];
            if constexpr (Dvalues) {
                const T* from = task.x + at + where.x(segment->line);
                SECATEUR_UNROLL for (int j = 0; j < N; ++j) x[j] = load<W>(from + j * W);
            }
            T* to = nullptr;
            if constexpr (Dx) {
                to = task.dx + at + where.dx(segment->line);
                SECATEUR_UNROLL for (int j = 0; j < N; ++j) dx[j] = add ? load<W>(to + j * W) : Vec<T, W>{};
            }
            std::uint32_t k = segment->start;
            const std::uint32_t end = k + length;
            while (k < end) {
                std::uint32_t stop = end;
                T* partial = nullptr;
                if constexpr (Dvalues) {
                    const std::uint32_t room = std::uint32_t(Dots<T, W>::capacity - dots.filled);
                    if (end - k > room) stop = k + room;
                    partial = dots.partial + dots.filled * W;
                    dots.filled += int(stop - k);
                }
                for (; k < stop; ++k) {
                    const T* from = dy + row(rows[k]);
                    Vec<T, W> w, dot;
                    if constexpr (Dx) w = broadcast<W>(task.values[places[k]]);
                    SECATEUR_UNROLL for (int j = 0; j < N; ++j) {
                        Vec<T, W> d = load<W>(from + j * W);
                        if constexpr (Dx && Dvalues) SECATEUR_KEEP(d);
                        if constexpr (Dx) dx[j] += w * d;
                        if constexpr (Dvalues) dot = j == 0 ? x[j] * d : dot + x[j] * d;
                    }
                    if constexpr (Dvalues) {
                        store<W>(partial, dot);
                        partial += W;
                    }
                }
                if constexpr (Dvalues)
                    if (dots.filled == Dots<T, W>::capacity) dots.write();
            }
            if constexpr (Dx)
                SECATEUR_UNROLL for (int j = 0; j < N; ++j) store<W>(to + j * W, dx[j]);
        }
    }
    if constexpr (Dvalues) dots.write();
}

struct StridedPair {
    std::int64_t ld_x, ld_dx, first_column;
    SECATEUR_INLINE std::int64_t x(std::uint32_t line) const { return line * ld_x; }
    SECATEUR_INLINE std::int64_t dx(std::uint32_t line) const { return (line - first_column) * ld_dx; }
};
struct TabledPair {
    const std::int32_t* offsets;
    SECATEUR_INLINE std::int64_t x(std::uint32_t line) const { return offsets[line]; }
    SECATEUR_INLINE std::int64_t dx(std::uint32_t line) const { return offsets[line]; }
};

template <class T, int W, int N, bool Dx, bool Dvalues>
void gradients_columns(const Gradients<T>& task, int panel, std::int64_t block, int at) {
    const Piece& piece = task.plan.piece(panel, block);
    const Strided row{task.ld_dy};
    constexpr int tile = 4 * W;  // the tile of blocked plans, whose loops are the tightest
    if (task.offsets)
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, TabledPair{task.offsets}, row, at);
    else if (N == 4 && task.ld_dy == tile)
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, StridedPair{task.ld_x, task.ld_dx, task.first_column}, Packed<tile>{}, at);
    else
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, StridedPair{task.ld_x, task.ld_dx, task.first_column}, row, at);
}

template <class T, bool Dx, bool Dvalues>
void gradients_panel(const Gradients<T>& task, int panel) {
    constexpr int W = widest<T>;
    // Twice N vectors (x and dx) stay in registers: 32 of them where vectors are 64 bytes wide, 16 elsewhere.
    constexpr bool roomy = SECATEUR_VECTOR_BYTES >= 64;
    for (std::int64_t block = 0; block < task.plan.blocks; ++block) {
        int at = 0;
        if constexpr (roomy)
            for (; at + 8 * W <= task.tile; at += 8 * W) gradients_columns<T, W, 8, Dx, Dvalues>(task, panel, block, at);
        for (; at + 4 * W <= task.tile; at += 4 * W) gradients_columns<T, W, 4, Dx, Dvalues>(task, panel, block, at);
        if (at + 3 * W <= task.tile) gradients_columns<T, W, 3, Dx, Dvalues>(task, panel, block, at), at += 3 * W;
        if (at + 2 * W <= task.tile) gradients_columns<T, W, 2, Dx, Dvalues>(task, panel, block, at), at += 2 * W;
        if (at + W <= task.tile) gradients_columns<T, W, 1, Dx, Dvalues>(task, panel, block, at), at += W;
        if constexpr (W > 8)
            if (at + 8 <= task.tile) gradients_columns<T, 8, 1, Dx, Dvalues>(task, panel, block, at), at += 8;
        if constexpr (W > 4)
            if (at + 4 <= task.tile) gradients_columns<T, 4, 1, Dx, Dvalues>(task, panel, block, at), at += 4;
        if constexpr (W > 2)
            for (; at + 2 <= task.tile; at += 2) gradients_columns<T, 2, 1, Dx, Dvalues>(task, panel, block, at);
    }
}

// dvalues in the order of rows from those in the plan's order.
template <class T>
void reorder(const T* from, const std::uint32_t* order, std::int64_t count, T* to) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = from[order[i]];
}

template <class T>
void gradients(const Gradients<T>& task, int panel) {
    if (task.dx && task.x)
        gradients_panel<T, true, true>(task, panel);
    else if (task.dx)
        gradients_panel<T, true, false>(task, panel);
    else if (task.x)
        gradients_panel<T, false, true>(task, panel);
}

}  // namespace secateur::SECATEUR_ISA
