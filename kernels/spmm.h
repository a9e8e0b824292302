// Sparse times feature-major dense: each survivor multiplies a contiguous piece of the batch.
#pragma once

#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

// Where column c of the matrix begins in the operand.
struct Strided {
    std::int64_t ld;
    SECATEUR_INLINE std::int64_t operator()(std::uint16_t low) const { return std::int64_t(low) * ld; }
};
template <int Ld>
struct Packed {
    SECATEUR_INLINE std::int64_t operator()(std::uint16_t low) const { return std::int64_t(low) * Ld; }
};
struct Tabled {
    const std::int32_t* offsets;
    SECATEUR_INLINE std::int64_t operator()(std::uint16_t low) const { return offsets[low]; }
};

template <class T, int W, int N>
SECATEUR_INLINE void start_row(Vec<T, W>* sum, const T* y, Start start, const T* bias, std::uint32_t row) {
    if (start == Start::add) {
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) sum[j] = load<W>(y + j * W);
    } else {
        const Vec<T, W> first = broadcast<W>(start == Start::bias ? bias[row] : T(0));
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) sum[j] = first;
    }
}

// R rows of equal length at once, N vectors of W examples each: R * N sums stay in registers.
template <class T, int W, int N, int R, class Column, class Where>
SECATEUR_INLINE void product_rows(const Segment* segment, std::uint32_t length, const Column* columns, const T* values, const T* x,
                                  Where where, T* y, std::int64_t ld_y, std::int64_t first_row, Start start, const T* bias, bool relu, bool ahead) {
    Vec<T, W> sum[R][N];
    SECATEUR_UNROLL for (int r = 0; r < R; ++r) start_row<T, W, N>(sum[r], y + (segment[r].line - first_row) * ld_y, start, bias, segment[r].line);
    const Column* column[R];
    const T* value[R];
    SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
        column[r] = columns + segment[r].start;
        value[r] = values + segment[r].start;
    }
    if (ahead)
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
            const std::uint32_t later = segment[kAhead + r].start;
            __builtin_prefetch(values + later);
            __builtin_prefetch(values + later + 64 / sizeof(T));
            __builtin_prefetch(columns + later);
        }
    const auto add = [&](int r, Column low, Vec<T, W> w) __attribute__((always_inline)) {
        const T* from = x + where(low);
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) sum[r][j] += w * load<W>(from + j * W);
    };
    std::uint32_t k = 0;
    for (; k + 4 <= length; k += 4) {
        Together<4, Column> low[R];
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) low[r] = together<4>(column[r] + k);
        if constexpr (loads_in_pairs<T, W>) {
            using All = typename MakeLanes<W>::type;
            SECATEUR_UNROLL for (int i = 0; i < 4; i += 2) {
                Vec<T, W> two[R];
                SECATEUR_UNROLL for (int r = 0; r < R; ++r) two[r] = pairs<W>(value[r] + k + i);
                SECATEUR_UNROLL for (int r = 0; r < R; ++r) add(r, low[r][i], of_pair<0>(two[r], All{}));
                SECATEUR_UNROLL for (int r = 0; r < R; ++r) add(r, low[r][i + 1], of_pair<1>(two[r], All{}));
            }
        } else {
            SECATEUR_UNROLL for (int i = 0; i < 4; ++i)
                SECATEUR_UNROLL for (int r = 0; r < R; ++r) add(r, low[r][i], broadcast<W>(value[r][k + std::uint32_t(i)]));
        }
    }
    for (; k < length; ++k)
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) add(r, column[r][k], broadcast<W>(value[r][k]));
    SECATEUR_UNROLL for (int r = 0; r < R; ++r)
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) {
            const Vec<T, W> y_j = relu ? positive_part<W, T>(sum[r][j]) : sum[r][j];
            store<W>(y + (segment[r].line - first_row) * ld_y + j * W, y_j);
        }
}

template <class T, int W, int N, class Column, class Where>
void product_piece(const Product<T>& product, const Column* columns, const Piece& piece, bool first, bool last, const T* x, Where where, T* y) {
    // Several short rows at once hide the latency of the sums; more would not fit the registers.
    constexpr int R = N == 1 ? 4 : N <= 4 ? 2 : 1;
    const Segment* segment = product.plan.segments + piece.first_segment;
    const Group* group = product.plan.groups + piece.first_group;
    const Start start = first ? product.start : Start::add;
    const bool relu = product.relu && last;
    // A block's piece of a row is short and the next row's lies elsewhere: the processor does not foresee it.
    const bool ahead = product.plan.blocks > 1;
    for (std::uint32_t g = 0; g < piece.groups; ++g) {
        const std::uint32_t length = group[g].length;
        std::uint32_t s = 0;
        for (; s + R <= group[g].segments; s += R, segment += R)
            product_rows<T, W, N, R>(segment, length, columns, product.values, x, where, y, product.ld_y, product.first_row, start, product.bias, relu, ahead);
        if constexpr (R > 1)
            for (; s < group[g].segments; ++s, ++segment)
                product_rows<T, W, N, 1>(segment, length, columns, product.values, x, where, y, product.ld_y, product.first_row, start, product.bias, relu, ahead);
    }
}

// All blocks of a panel for N * W examples from `at` on.
template <class T, int W, int N, class Column>
void product_columns(const Product<T>& product, const Column* columns, int panel, std::int64_t block, int at) {
    const Piece& piece = product.plan.piece(panel, block);
    const T* x = product.x + at;
    const bool first = block == 0, last = block + 1 == product.plan.blocks;
    if (product.offsets)
        product_piece<T, W, N>(product, columns, piece, first, last, x, Tabled{product.offsets + piece.base}, product.y + at);
    else if ((N == 4 || N == 2) && product.ld_x == N * W)
        product_piece<T, W, N>(product, columns, piece, first, last, x + piece.base * product.ld_x, Packed<N * W>{}, product.y + at);
    else
        product_piece<T, W, N>(product, columns, piece, first, last, x + piece.base * product.ld_x, Strided{product.ld_x}, product.y + at);
}

template <class T, class Column>
void product_by(const Product<T>& product, const Column* columns, int panel) {
    constexpr int W = widest<T>;
    for (std::int64_t block = 0; block < product.plan.blocks; ++block) {
        int at = 0;
        for (; at + 8 * W <= product.tile; at += 8 * W) product_columns<T, W, 8>(product, columns, panel, block, at);
        if (at + 4 * W <= product.tile) product_columns<T, W, 4>(product, columns, panel, block, at), at += 4 * W;
        if (at + 3 * W <= product.tile) product_columns<T, W, 3>(product, columns, panel, block, at), at += 3 * W;
        if (at + 2 * W <= product.tile) product_columns<T, W, 2>(product, columns, panel, block, at), at += 2 * W;
        if (at + W <= product.tile) product_columns<T, W, 1>(product, columns, panel, block, at), at += W;
        if constexpr (W > 8)
            if (at + 8 <= product.tile) product_columns<T, 8, 1>(product, columns, panel, block, at), at += 8;
        if constexpr (W > 4)
            if (at + 4 <= product.tile) product_columns<T, 4, 1>(product, columns, panel, block, at), at += 4;
        if constexpr (W > 2)
            for (; at + 2 <= product.tile; at += 2) product_columns<T, 2, 1>(product, columns, panel, block, at);
    }
}

template <class T>
void product(const Product<T>& product, int panel) {
    if (product.plan.columns)
        product_by(product, product.plan.columns, panel);
    else
        product_by(product, product.low_columns, panel);
}

}  // namespace secateur::SECATEUR_ISA
