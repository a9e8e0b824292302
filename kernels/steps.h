// One pass of an optimiser over a range of weights: gradients, moments and weights are each read once and written once. What is
// pruned, and its moments, are zero afterwards, whatever they and the gradient were.
#pragma once

#include "flags.h"
#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

SECATEUR_INLINE float root(float value) { return __builtin_sqrtf(value); }
SECATEUR_INLINE double root(double value) { return __builtin_sqrt(value); }

// `range(first, last, kept)` for pieces of [first, last), which begins at a whole byte of the mask; weight i lives where kept[i] is 1.
template <class F>
SECATEUR_INLINE void for_each_piece(const std::uint8_t* bits, std::int64_t first, std::int64_t last, F&& range) {
    std::uint8_t flags[flags_at_once];
    for (; first < last; first += flags_at_once) {
        const std::int64_t end = last - first < flags_at_once ? last : first + flags_at_once;
        spread_bits(bits + first / 8, (end - first + 7) / 8, flags);
        range(first, end, flags - first);
    }
}

template <class T, bool Masked>
SECATEUR_INLINE void adam_range(const AdamRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last, const std::uint8_t* __restrict kept) {
    T* __restrict weights = at.weights;
    T* __restrict means = at.first;
    T* __restrict squares = at.second;
    const T* __restrict gradients = at.gradients;
    const AdamRule<T> r = rule;
    for (std::int64_t i = first; i < last; ++i) {
        const T alive = Masked ? T(kept[i]) : T(1);
        const T weight = weights[i] * r.shrink;
        const T raw = gradients[i] + r.decay * weights[i];
        const T gradient = Masked ? (alive != T(0) ? raw : T(0)) : raw;
        const T mean = means[i] + (gradient - means[i]) * r.mean_step;
        const T square = squares[i] * r.square_keep + gradient * gradient * r.square_step;
        const T updated = weight - r.rate * mean / (root(square) * r.root_scale + r.eps);
        means[i] = Masked ? (alive != T(0) ? mean : T(0)) : mean;
        squares[i] = Masked ? (alive != T(0) ? square : T(0)) : square;
        weights[i] = Masked ? (alive != T(0) ? updated : T(0)) : updated;
    }
}

template <class T>
void adam(const AdamRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    if (at.kept)
        for_each_piece(at.kept, first, last, [&](auto from, auto to, auto kept) { adam_range<T, true>(rule, at, from, to, kept); });
    else
        adam_range<T, false>(rule, at, first, last, nullptr);
}

template <class T, bool Masked, bool Momentum>
SECATEUR_INLINE void sgd_range(const SgdRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last, const std::uint8_t* __restrict kept) {
    T* __restrict weights = at.weights;
    T* __restrict buffers = at.first;
    const T* __restrict gradients = at.gradients;
    const SgdRule<T> r = rule;
    for (std::int64_t i = first; i < last; ++i) {
        const T alive = Masked ? T(kept[i]) : T(1);
        const T raw = gradients[i] + r.decay * weights[i];
        T step = Masked ? (alive != T(0) ? raw : T(0)) : raw;
        if constexpr (Momentum) {
            const T buffer = buffers[i] * r.momentum + step;
            buffers[i] = Masked ? (alive != T(0) ? buffer : T(0)) : buffer;
            step = step * r.nesterov + buffer * r.heavy;
        }
        const T updated = weights[i] - r.rate * step;
        weights[i] = Masked ? (alive != T(0) ? updated : T(0)) : updated;
    }
}

template <class T, bool Momentum>
SECATEUR_INLINE void sgd_as(const SgdRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    if (at.kept)
        for_each_piece(at.kept, first, last, [&](auto from, auto to, auto kept) { sgd_range<T, true, Momentum>(rule, at, from, to, kept); });
    else
        sgd_range<T, false, Momentum>(rule, at, first, last, nullptr);
}

template <class T>
void sgd(const SgdRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    at.first ? sgd_as<T, true>(rule, at, first, last) : sgd_as<T, false>(rule, at, first, last);
}

}  // namespace secateur::SECATEUR_ISA
