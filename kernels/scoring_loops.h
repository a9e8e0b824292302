// What scores compute beside the passes of the network: each in one pass over the weights, in the order in which torch would round.
#pragma once

#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

SECATEUR_INLINE float absolute(float value) { return __builtin_fabsf(value); }
SECATEUR_INLINE double absolute(double value) { return __builtin_fabs(value); }

// Calls range(first, last) for pieces of [begin, end), ahead of which the lines of `arrays` are fetched.
template <class T, class F, class... Array>
SECATEUR_INLINE void read_ahead(std::int64_t begin, std::int64_t end, F&& range, const Array*... arrays) {
    constexpr std::int64_t piece = 256, ahead = 2048, line = 64 / std::int64_t(sizeof(T));
    for (std::int64_t first = begin; first < end; first += piece) {
        for (std::int64_t i = first + ahead; i < first + ahead + piece; i += line) (__builtin_prefetch(arrays + i), ...);
        range(first, end - first < piece ? end : first + piece);
    }
}

template <class T>
void add_changes(const T* weights, const T* gradients, T* totals, bool first, std::int64_t begin, std::int64_t end) {
    const auto range = [&](std::int64_t from, std::int64_t to) {
        if (first)
            for (std::int64_t i = from; i < to; ++i) totals[i] = absolute(weights[i] * gradients[i]);
        else
            for (std::int64_t i = from; i < to; ++i) totals[i] += absolute(weights[i] * gradients[i]);
    };
    read_ahead<T>(begin, end, range, weights, gradients, totals);
}

// One step down of scores whose magnitudes multiply weights, `slopes` being those of the products.
template <class T>
void popup_step(const PopupStep<T>& s, std::int64_t begin, std::int64_t end) {
    const auto step = [&](auto weight, auto slope, auto score, auto buffer, auto& stepped, auto& gathered) {
        const auto sign = (score > 0 ? score - score + 1 : score - score) - (score < 0 ? score - score + 1 : score - score);
        auto signed_slope = slope * weight * sign;
        auto carried = buffer * s.momentum;
        SECATEUR_KEEP(signed_slope);  // these products are rounded by themselves, as in torch
        SECATEUR_KEEP(carried);
        const auto gradient = signed_slope + s.decay * score;
        gathered = s.first ? gradient : carried + gradient;
        stepped = score - s.rate * gathered;
    };
    constexpr int W = widest<T>;
    const auto range = [&](std::int64_t from, std::int64_t to) {
        std::int64_t i = from;
        for (; i + W <= to; i += W) {
            Vec<T, W> stepped, gathered;
            step(load<W>(s.weights + i), load<W>(s.slopes + i), load<W>(s.scores + i), load<W>(s.buffers + i), stepped, gathered);
            store<W>(s.buffers + i, gathered);
            store<W>(s.scores + i, stepped);
        }
        for (; i < to; ++i) step(s.weights[i], s.slopes[i], s.scores[i], s.buffers[i], s.scores[i], s.buffers[i]);
    };
    read_ahead<T>(begin, end, range, s.weights, s.slopes, s.scores, s.buffers);
}

template <class T>
void times_squares(T* totals, const T* weights, T divisor, std::int64_t begin, std::int64_t end) {
    const auto range = [&](std::int64_t from, std::int64_t to) {
        for (std::int64_t i = from; i < to; ++i) totals[i] = totals[i] * (weights[i] * weights[i]) / divisor;
    };
    read_ahead<T>(begin, end, range, totals, weights);
}

template <class T>
void weigh(const T* weights, const T* norms, std::int64_t columns, T* scores, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
        const T* __restrict of = weights + row * columns;
        T* __restrict to = scores + row * columns;
        for (std::int64_t i = 0; i < columns; i += 64 / std::int64_t(sizeof(T))) {
            __builtin_prefetch(of + 2048 + i);
            __builtin_prefetch(to + 2048 + i, 1);
        }
        for (std::int64_t i = 0; i < columns; ++i) to[i] = absolute(of[i] * norms[i]);
    }
}

template <class T>
void add_squares(const T* vectors, std::int64_t rows, std::int64_t columns, double* __restrict totals, std::int64_t begin, std::int64_t end) {
    constexpr std::int64_t piece = 512;  // sums that stay near
    for (std::int64_t first = begin; first < end; first += piece) {
        const std::int64_t count = end - first < piece ? end - first : piece;
        for (std::int64_t row = 0; row < rows; ++row) {
            const T* __restrict x = vectors + row * columns + first;
            for (std::int64_t i = 0; i < count; ++i) totals[first + i] += double(x[i]) * double(x[i]);
        }
    }
}

}  // namespace secateur::SECATEUR_ISA
