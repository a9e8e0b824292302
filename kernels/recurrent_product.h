// The products of recurrent layers: one step's, over interleaved slices, and the gradient of the survivors over a tile of steps.
#pragma once

#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

// Four lines at once; N vectors of the widest size, one of half of it and one of a quarter.
template <class T, int N, bool Half, bool Quarter>
void step_slices(const StepProduct<T>& task, std::int64_t at) {
    constexpr int W = widest<T>, R = kSliceLines, quarter = 16 / int(sizeof(T)), half = 2 * quarter;
    constexpr int at_quarter = N * W + (Half ? half : 0);
    const std::int64_t ld_x = task.ld_x;
    const T* x = task.x + at;
    for (std::uint32_t s = 0; s < task.count; ++s) {
        const Slice& slice = task.slices[s];
        Vec<T, W> sum[R][N ? N : 1];
        Vec<T, half> sum_half[R];
        Vec<T, quarter> sum_quarter[R];
        T* to[R];
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
            to[r] = task.sums + slice.line[r] * task.ld_sums + at;
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) sum[r][j] = task.add ? load<W>(to[r] + j * W) : Vec<T, W>{};
            if constexpr (Half) sum_half[r] = task.add ? load<half>(to[r] + N * W) : Vec<T, half>{};
            if constexpr (Quarter) sum_quarter[r] = task.add ? load<quarter>(to[r] + at_quarter) : Vec<T, quarter>{};
        }
        const std::uint16_t* operand = task.operands + slice.first;
        const T* value = task.values + slice.first;
        for (std::uint32_t k = 0; k < slice.length; ++k, operand += R, value += R) {
            SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
                const T* from = x + operand[r] * ld_x;
                const Vec<T, W> w = broadcast<W>(value[r]);
                SECATEUR_UNROLL for (int j = 0; j < N; ++j) sum[r][j] += w * load<W>(from + j * W);
                if constexpr (Half) sum_half[r] += broadcast<half>(value[r]) * load<half>(from + N * W);
                if constexpr (Quarter) sum_quarter[r] += broadcast<quarter>(value[r]) * load<quarter>(from + at_quarter);
            }
        }
        SECATEUR_UNROLL for (int r = 0; r < R; ++r) {
            SECATEUR_UNROLL for (int j = 0; j < N; ++j) store<W>(to[r] + j * W, sum[r][j]);
            if constexpr (Half) store<half>(to[r] + N * W, sum_half[r]);
            if constexpr (Quarter) store<quarter>(to[r] + at_quarter, sum_quarter[r]);
        }
    }
}

// `rest`: lanes beyond N vectors, a multiple of a quarter of the widest there is.
template <class T, int N>
void step_lanes(const StepProduct<T>& task, std::int64_t at, std::int64_t rest) {
    constexpr int W = widest<T>, quarter = 16 / int(sizeof(T));
    if constexpr (W > 2 * quarter) {
        if (rest == 3 * quarter) return step_slices<T, N, true, true>(task, at);
        if (rest == 2 * quarter) return step_slices<T, N, true, false>(task, at);
    }
    if constexpr (W > quarter)
        if (rest == quarter) return step_slices<T, N, false, true>(task, at);
    if constexpr (N > 0) step_slices<T, N, false, false>(task, at);
}

template <class T>
void step_product(const StepProduct<T>& task) {
    constexpr int W = widest<T>;
    // Sums of four lines stay in registers: 32 of them where vectors are 64 bytes wide, 16 elsewhere.
    constexpr int most = SECATEUR_VECTOR_BYTES >= 64 ? 4 : 2;
    std::int64_t vectors = task.lanes / W, at = 0;
    const std::int64_t rest = task.lanes % W;
    for (; vectors > most; vectors -= most, at += most * W) step_slices<T, most, false, false>(task, at);
    switch (vectors) {
        case 0: return step_lanes<T, 0>(task, at, rest);
        case 1: return step_lanes<T, 1>(task, at, rest);
        case 2: return step_lanes<T, 2>(task, at, rest);
        case 3:
            if constexpr (most > 2) return step_lanes<T, 3>(task, at, rest);
            break;
        case 4:
            if constexpr (most > 2) return step_lanes<T, 4>(task, at, rest);
            break;
    }
}

template <class T, int N, bool Wide>
void sampled_rows_columns(const SampledRows<T>& task, std::int64_t at, bool add) {
    constexpr int W = widest<T>;
    for (std::int64_t row = task.first_row; row < task.last_row; ++row) {
        Vec<T, W> dy[N];
        SECATEUR_UNROLL for (int j = 0; j < N; ++j) dy[j] = load<W>(task.dy + row * task.ld_dy + at + j * W);
        const std::uint32_t end = task.row_starts[row + 1];
        for (std::uint32_t k = task.row_starts[row]; k < end; k += W) {
            const int n = end - k < std::uint32_t(W) ? int(end - k) : W;
            alignas(64) T partial[W * W];
            for (int i = 0; i < n; ++i) {
                std::int64_t column = task.low_columns[k + i];
                if constexpr (Wide) column |= std::int64_t(task.high_columns[k + i]) << 16;
                const T* from = task.x + column * task.ld_x + at;
                Vec<T, W> dot = dy[0] * load<W>(from);
                SECATEUR_UNROLL for (int j = 1; j < N; ++j) dot += dy[j] * load<W>(from + j * W);
                store<W>(partial + i * W, dot);
            }
            for (int i = n; i < W; ++i) store<W>(partial + i * W, Vec<T, W>{});
            Vec<T, W> sums[W];
            SECATEUR_UNROLL for (int i = 0; i < W; ++i) sums[i] = load<W>(partial + i * W);
            add_lanes<W, T>(sums);
            T* to = task.dvalues + k;
            if (n == W) {
                store<W>(to, add ? sums[0] + load<W>(to) : sums[0]);
            } else {
                store<W>(partial, sums[0]);
                asm volatile("" : : "r"(partial) : "memory");
                for (int i = 0; i < n; ++i) to[i] = add ? to[i] + partial[i] : partial[i];
            }
        }
    }
}

template <class T, bool Wide>
void sampled_rows_all(const SampledRows<T>& task) {
    constexpr int W = widest<T>;
    std::int64_t at = 0;
    const auto add = [&] { return task.add || at > 0; };
    for (; at + 8 * W <= task.width; at += 8 * W) sampled_rows_columns<T, 8, Wide>(task, at, add());
    if (at + 4 * W <= task.width) sampled_rows_columns<T, 4, Wide>(task, at, add()), at += 4 * W;
    if (at + 3 * W <= task.width) sampled_rows_columns<T, 3, Wide>(task, at, add()), at += 3 * W;
    if (at + 2 * W <= task.width) sampled_rows_columns<T, 2, Wide>(task, at, add()), at += 2 * W;
    if (at + W <= task.width) sampled_rows_columns<T, 1, Wide>(task, at, add()), at += W;
}

template <class T>
void sampled_rows(const SampledRows<T>& task) {
    task.high_columns ? sampled_rows_all<T, true>(task) : sampled_rows_all<T, false>(task);
}

}  // namespace secateur::SECATEUR_ISA
