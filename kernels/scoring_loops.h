// What scores compute beside the passes of the network: each in one pass over the weights, in the order in which torch would round.
#pragma once

#include "primitives.h"
#include "read_ahead.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

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

// Templates, so that each loop is free of branches.
template <bool First, bool Gradients, bool Weights, class T>
void squares_of(const Squares<T>& s, std::int64_t begin, std::int64_t end) {
    const auto summed = [&](auto total, auto gradient, auto weight) {
        if constexpr (First) {
            total *= total;
            SECATEUR_KEEP(total);  // rounded by itself, so that it does not matter when a gradient is squared
        }
        if constexpr (Gradients) total += gradient * gradient;
        if constexpr (Weights) total = total * (weight * weight) / s.divisor;
        return total;
    };
    const T* gradients = Gradients ? s.gradients : s.totals;
    const T* weights = Weights ? s.weights : s.totals;
    constexpr int W = widest<T>;
    const auto range = [&](std::int64_t from, std::int64_t to) {
        std::int64_t i = from;
        for (; i + W <= to; i += W) store<W>(s.totals + i, summed(load<W>(s.totals + i), load<W>(gradients + i), load<W>(weights + i)));
        for (; i < to; ++i) s.totals[i] = summed(s.totals[i], gradients[i], weights[i]);
    };
    read_ahead<T>(begin, end, range, s.totals, gradients, weights);
}

template <class T>
void squares(const Squares<T>& s, std::int64_t begin, std::int64_t end) {
    constexpr void (*ways[])(const Squares<T>&, std::int64_t, std::int64_t) = {
        squares_of<false, false, false, T>, squares_of<false, false, true, T>, squares_of<false, true, false, T>, squares_of<false, true, true, T>,
        squares_of<true, false, false, T>,  squares_of<true, false, true, T>,  squares_of<true, true, false, T>,  squares_of<true, true, true, T>};
    ways[4 * s.first + 2 * (s.gradients != nullptr) + (s.weights != nullptr)](s, begin, end);
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

template <int W, class T>
SECATEUR_INLINE Vec<double, W> in_double(const T* from) {
    return __builtin_convertvector(load<W>(from), Vec<double, W>);
}

template <class T>
void add_squares(const T* vectors, std::int64_t rows, std::int64_t columns, double* totals, std::int64_t begin, std::int64_t end) {
    constexpr int W = widest<double>, at_once = 4;
    constexpr std::int64_t piece = 1024;  // sums that stay near
    for (std::int64_t first = begin; first < end; first += piece) {
        const std::int64_t last = end - first < piece ? end : first + piece;
        for (std::int64_t row = 0; row < rows; row += at_once) {
            const auto add = [&](int count) {
                const T* x = vectors + row * columns;
                std::int64_t i = first;
                for (; i + W <= last; i += W) {
                    Vec<double, W> sum = load<W>(totals + i);
                    SECATEUR_UNROLL for (int j = 0; j < count; ++j) {
                        const Vec<double, W> number = in_double<W>(x + j * columns + i);
                        __builtin_prefetch(x + (at_once + j) * columns + i);
                        sum += number * number;
                    }
                    store<W>(totals + i, sum);
                }
                for (; i < last; ++i)
                    for (int j = 0; j < count; ++j) totals[i] += double(x[j * columns + i]) * double(x[j * columns + i]);
            };
            if (row + at_once <= rows)
                add(at_once);
            else
                add(int(rows - row));
        }
    }
}

template <int W>
SECATEUR_INLINE Vec<double, W> absolute_values(Vec<double, W> v) {
    using Bits = Vec<std::int64_t, W>;
    return (Vec<double, W>)((Bits)v & ~(std::int64_t(1) << 63));
}

template <class T>
void flow_on(const Flow<T>& f, double* y, std::int64_t begin, std::int64_t end) {
    constexpr int W = widest<double>, parts = 4;
    for (std::int64_t row = begin; row < end; ++row) {
        const T* weights = f.weights + row * f.columns;
        Vec<double, W> sums[parts] = {};
        std::int64_t i = 0;
        for (; i + W * parts <= f.columns; i += W * parts) {
            for (std::int64_t k = 0; k < W * parts; k += 64 / std::int64_t(sizeof(T))) __builtin_prefetch(weights + 2048 + i + k);
            SECATEUR_UNROLL for (int j = 0; j < parts; ++j)
                sums[j] += absolute_values<W>(in_double<W>(weights + i + j * W)) * load<W>(f.x + i + j * W);
        }
        double sum = 0;
        for (const auto& each : sums)
            for (int j = 0; j < W; ++j) sum += each[j];
        for (; i < f.columns; ++i) sum += absolute(double(weights[i])) * f.x[i];
        y[row] = sum;
    }
}

template <class T>
double flow_back(const Flow<T>& f, const double* dy, double* dx, double* scores, std::int64_t begin, std::int64_t end) {
    constexpr int W = widest<double>;
    Vec<double, W> sums = {};
    double sum = 0;
    for (std::int64_t i = begin; i < end; ++i) dx[i] = 0;
    for (std::int64_t row = 0; row < f.rows; ++row) {
        const T* weights = f.weights + row * f.columns;
        double* to = scores + row * f.columns;
        std::int64_t i = begin;
        for (; i + W <= end; i += W) {
            __builtin_prefetch(weights + 2048 + i);
            __builtin_prefetch(to + 2048 + i, 1);
            const Vec<double, W> flow = absolute_values<W>(in_double<W>(weights + i)) * dy[row], score = flow * load<W>(f.x + i);
            store<W>(dx + i, load<W>(dx + i) + flow);
            store<W>(to + i, score);
            sums += score;
        }
        for (; i < end; ++i) {
            const double flow = absolute(double(weights[i])) * dy[row];
            dx[i] += flow;
            sum += to[i] = flow * f.x[i];
        }
    }
    for (int j = 0; j < W; ++j) sum += sums[j];
    return sum;
}

}  // namespace secateur::SECATEUR_ISA
