// One pass of an optimiser over a range of weights: gradients, moments and weights are each read once and written once. What is
// pruned, and its moments, are zero afterwards, whatever they and the gradient were.
#pragma once

#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

SECATEUR_INLINE float root(float value) { return __builtin_sqrtf(value); }
SECATEUR_INLINE double root(double value) { return __builtin_sqrt(value); }

template <class T, bool Masked>
SECATEUR_INLINE void adam_range(const AdamRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    T* __restrict weights = at.weights;
    T* __restrict means = at.first;
    T* __restrict squares = at.second;
    const T* __restrict gradients = at.gradients;
    const std::uint8_t* __restrict kept = at.kept;
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
    at.kept ? adam_range<T, true>(rule, at, first, last) : adam_range<T, false>(rule, at, first, last);
}

template <class T, bool Masked, bool Momentum>
SECATEUR_INLINE void sgd_range(const SgdRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    T* __restrict weights = at.weights;
    T* __restrict buffers = at.first;
    const T* __restrict gradients = at.gradients;
    const std::uint8_t* __restrict kept = at.kept;
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

template <class T>
void sgd(const SgdRule<T>& rule, const Slots<T>& at, std::int64_t first, std::int64_t last) {
    if (at.first)
        at.kept ? sgd_range<T, true, true>(rule, at, first, last) : sgd_range<T, false, true>(rule, at, first, last);
    else
        at.kept ? sgd_range<T, true, false>(rule, at, first, last) : sgd_range<T, false, false>(rule, at, first, last);
}

}  // namespace secateur::SECATEUR_ISA
