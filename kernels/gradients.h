// Both gradients of a sparse product in one walk over its survivors, by columns: each row of dy that is fetched for the
// input's gradient, dx = W^T dy, serves the survivor's own, dvalue = <dy row, x column>.
#pragma once

#include "primitives.h"
#include "simd.h"
#include "spmm.h"

namespace secateur::SECATEUR_ISA {

// Vectors of partial dot products are folded into one another, two at a time, until each lane holds a sum. The lane bit that tells
// the two apart at fold `i`, in an order that suits the processor's shuffles.
template <int W>
constexpr int fold_bit(int i) {
    constexpr int of_sixteen[] = {4, 1, 8, 2};
    return W == 16 ? of_sixteen[i] : W >> (i + 1);
}

// The lane in which the sum of the dot product `slot` (of W) ends up.
template <int W>
constexpr int lane_of(int slot) {
    int lane = 0;
    for (int i = 0; 1 << i < W; ++i)
        if (slot >> i & 1) lane += fold_bit<W>(i);
    return lane;
}

template <class T, int W, int I>
SECATEUR_INLINE Vec<T, W> fold(Vec<T, W> a, Vec<T, W> b) {
    using All = typename MakeLanes<W>::type;
    return straight<fold_bit<W>(I)>(a, b, All{}) + crossed<fold_bit<W>(I)>(a, b, All{});
}

template <class T, int W, int I, int Count>
SECATEUR_INLINE void fold_all(Vec<T, W>* v) {
    if constexpr (Count > 1) {
        SECATEUR_UNROLL for (int i = 0; i < Count / 2; ++i) v[i] = fold<T, W, I>(v[2 * i], v[2 * i + 1]);
        fold_all<T, W, I + 1, Count / 2>(v);
    }
}

template <class V, int... I>
SECATEUR_INLINE V by_slot(V v, Lanes<I...>) {
    return __builtin_shufflevector(v, v, lane_of<int(sizeof...(I))>(I)...);
}

// Partial dot products wait here, two folded into a vector, until W of them can be summed at once.
template <class T, int W>
struct Dots {
    static constexpr int group = W / 2, capacity = 4 * group;
    alignas(64) T folded[capacity * W];
    int filled = 0;
    T* to;  // where the first one's sum goes; the others follow
    bool add;

    SECATEUR_INLINE Vec<T, W> sums(int from) const {
        Vec<T, W> v[group];
        SECATEUR_UNROLL for (int j = 0; j < group; ++j) {
            v[j] = load<W>(folded + (from + j) * W);
            SECATEUR_KEEP(v[j]);
        }
        fold_all<T, W, 1, group>(v);
        return by_slot(v[0], typename MakeLanes<W>::type{});
    }

    // The sums of whole groups; what is left begins anew.
    __attribute__((noinline)) void write() {
        int i = 0;
        for (; i + group <= filled; i += group, to += W) store<W>(to, add ? load<W>(to) + sums(i) : sums(i));
        if (i < filled) {
            const Vec<T, W> last = sums(i);
            const int left = 2 * (filled - i);
            for (int j = 0; j < left; ++j) to[j] = (add ? to[j] : T(0)) + last[j];
            to += left;
        }
        filled = 0;
    }
};

// R columns of equal length at once, their entries taking turns. Two dot products are folded into a vector as they are made: those of
// two columns, or of two survivors of one.
template <class T, int W, int N, int R, bool Dx, bool Dvalues, class Where, class Row>
SECATEUR_INLINE void gradients_of_columns(const Gradients<T>& task, const Segment* segment, std::uint32_t length, const T* dy, bool add, Where where,
                                          Row row, int at, Dots<T, W>& dots) {
    constexpr int entries = Dvalues ? 2 : R;  // of a step
    const std::uint16_t* rows = task.plan.rows + segment->start;
    const std::uint32_t* places = task.plan.places + segment->start;
    Vec<T, W> x[R][N], dx[R][N];
    T* to[R];
    if (task.ahead)
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
            const std::uint32_t later = segment[kAhead + r].line;
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) {
                if constexpr (Dvalues) __builtin_prefetch(task.x + at + where.x(later) + j * W);
                if constexpr (Dx) __builtin_prefetch(task.dx + at + where.dx(later) + j * W, 1);
            }
        }
    SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
        if constexpr (Dvalues) {
            const T* from = task.x + at + where.x(segment[r].line);
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) x[r][j] = load<W>(from + j * W);
        }
        if constexpr (Dx) {
            to[r] = task.dx + at + where.dx(segment[r].line);
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) dx[r][j] = add ? load<W>(to[r] + j * W) : Vec<T, W>{};
        }
    }
    const auto dot_of = [&](std::uint16_t at_row, std::uint32_t place, int r) __attribute__((always_inline)) {
        const T* from = dy + row(at_row);
        Vec<T, W> w, dot{};
        if constexpr (Dx) w = broadcast<W>(task.values[place]);
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) {
            Vec<T, W> d = load<W>(from + j * W);
            if constexpr (Dx && Dvalues) SECATEUR_KEEP(d);
            if constexpr (Dx) dx[r][j] += w * d;
            if constexpr (Dvalues) dot = j == 0 ? x[r][j] * d : dot + x[r][j] * d;
        }
        return dot;
    };
    std::uint32_t entry = 0;
    const std::uint32_t end = length * R / entries * entries;
    while (entry < end) {
        std::uint32_t stop = end;
        T* folded = nullptr;
        if constexpr (Dvalues) {
            const std::uint32_t room = 2 * std::uint32_t(Dots<T, W>::capacity - dots.filled);
            if (end - entry > room) stop = entry + room;
            folded = dots.folded + dots.filled * W;
            dots.filled += int(stop - entry) / 2;
        }
        for (; entry < stop; entry += entries) {
            Vec<T, W> dot[entries];
            const auto at_rows = together<entries>(rows + entry);
            const auto at_places = together<Dx ? entries : 1>(places + entry);
            SECATEUR_UNROLL for (int i = 0; i < entries; ++i) dot[i] = dot_of(at_rows[i], at_places[Dx ? i : 0], i % R);
            if constexpr (Dvalues) {
                store<W>(folded, fold<T, W, 0>(dot[0], dot[1]));
                folded += W;
            }
        }
        if constexpr (Dvalues)
            if (dots.filled == Dots<T, W>::capacity) dots.write();
    }
    if constexpr (Dvalues && R == 1)
        if (length % 2) {
            store<W>(dots.folded + dots.filled * W, fold<T, W, 0>(dot_of(rows[length - 1], places[length - 1], 0), Vec<T, W>{}));
            if (++dots.filled == Dots<T, W>::capacity) dots.write();
        }
    if constexpr (Dx)
        SECATEUR_UNROLL for (int r = 0; r < R; ++r)
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) store<W>(to[r] + j * W, dx[r][j]);
}

// Two columns at once need 4 N vectors in registers: 32 of them where vectors are 64 bytes wide, 16 elsewhere.
template <class T>
int columns_at_once(int tile) {
    return SECATEUR_VECTOR_BYTES >= 64 && tile < 8 * widest<T> ? 2 : 1;
}

// Examples whose x and dx stay in registers, as vectors: 32 of these where they are 64 bytes wide, 16 elsewhere.
template <class T>
inline constexpr int widest_gradients = (SECATEUR_VECTOR_BYTES >= 64 ? 8 : 4) * widest<T>;

template <class T, int W, int N, bool Dx, bool Dvalues, class Where, class Row>
void gradients_piece(const Gradients<T>& task, const Piece& piece, bool first, Where where, Row row, int at) {
    const Segment* segment = task.plan.segments + piece.first_segment;
    const Group* group = task.plan.groups + piece.first_group;
    const T* dy = task.dy + at + piece.base * task.ld_dy;
    const bool add = task.add_dx || !first;
    Dots<T, W> dots;
    if constexpr (Dvalues) {
        dots.add = task.add_dvalues || at > 0;
        dots.to = task.dvalues + (piece.groups ? segment->start : 0);
    }
    for (std::uint32_t g = 0; g < piece.groups; ++g) {
        const std::uint32_t length = group[g].length;
        std::uint32_t s = 0;
        if constexpr (SECATEUR_VECTOR_BYTES >= 64 && N <= 4)
            if (task.plan.side == 2)
                for (; s + 2 <= group[g].segments; s += 2, segment += 2)
                    gradients_of_columns<T, W, N, 2, Dx, Dvalues>(task, segment, length, dy, add, where, row, at, dots);
        for (; s < group[g].segments; ++s, ++segment)
            gradients_of_columns<T, W, N, 1, Dx, Dvalues>(task, segment, length, dy, add, where, row, at, dots);
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
    const StridedPair strided{task.ld_x, task.ld_dx, task.first_column};
    if (task.offsets)
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, TabledPair{task.offsets}, row, at);
    else if (N == 4 && task.ld_dy == tile)
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, strided, Packed<tile>{}, at);
    else
        gradients_piece<T, W, N, Dx, Dvalues>(task, piece, block == 0, strided, row, at);
}

template <class T, bool Dx, bool Dvalues>
void gradients_panel(const Gradients<T>& task, int panel) {
    constexpr int W = widest<T>;
    for (std::int64_t block = 0; block < task.plan.blocks; ++block) {
        int at = 0;
        if constexpr (widest_gradients<T> >= 8 * W)
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

// dvalues in the order of rows from those in the plan's order; those of two groups of examples are added.
template <class T>
void reorder(const T* from, const T* other, const std::uint32_t* order, std::int64_t count, T* to) {
    if (other)
        for (std::int64_t i = 0; i < count; ++i) to[i] = from[order[i]] + other[order[i]];
    else
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
