// exp(x) - 1, the logistic function and tanh of vectors, to a few units in the last place.
//
// exp(x) - 1 = 2^n (1 + p) - 1 with x = n log 2 + r and p = exp(r) - 1 by its Taylor polynomial: |r| <= log(2) / 2, where degree 7 leaves an
// error below float's rounding and degree 14 one below double's. For small x n is 0 and nothing cancels.
#pragma once

#include <cstdint>

#include "simd.h"

namespace secateur::SECATEUR_ISA {

template <class T>
struct Float;

template <>
struct Float<float> {
    using Bits = std::int32_t;
    static constexpr int degree = 7, mantissa = 23;
    static constexpr float to_log2 = 1.44269504088896341f, log2_high = 0.693359375f, log2_low = -2.12194440e-4f;
    static constexpr float rounding = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the low bits
    static constexpr float widest = 87.0f;          // exp of it is finite, and of its negative normal
    static constexpr float saturated = 10.0f;       // tanh is 1 from here on
};

template <>
struct Float<double> {
    using Bits = std::int64_t;
    static constexpr int degree = 14, mantissa = 52;
    static constexpr double to_log2 = 1.44269504088896340736, log2_high = 6.93145751953125e-1, log2_low = 1.42860682030941723212e-6;
    static constexpr double rounding = 6755399441055744.0;
    static constexpr double widest = 708.0;
    static constexpr double saturated = 20.0;
};

template <class T>
constexpr T inverse_factorial(int k) {
    double product = 1;
    for (int i = 2; i <= k; ++i) product *= i;
    return T(1 / product);
}

// NaN stays NaN: each comparison with it is false.
template <class T, int W>
SECATEUR_INLINE Vec<T, W> clamped(Vec<T, W> x, T limit) {
    const Vec<T, W> high = broadcast<W>(limit), low = broadcast<W>(-limit);
    x = x > high ? high : x;
    return x < low ? low : x;
}

// exp(x) - 1 for |x| <= widest.
template <class T, int W>
SECATEUR_INLINE Vec<T, W> expm1(Vec<T, W> x) {
    using F = Float<T>;
    using V = Vec<T, W>;
    using I = Vec<typename F::Bits, W>;
    const V shifted = x * broadcast<W>(F::to_log2) + broadcast<W>(F::rounding);
    const V n = shifted - broadcast<W>(F::rounding);
    V r = x - n * broadcast<W>(F::log2_high);
    r = r - n * broadcast<W>(F::log2_low);
    V p = broadcast<W>(inverse_factorial<T>(F::degree));
    SECATEUR_UNROLL for (int k = F::degree - 1; k >= 2; --k) p = p * r + broadcast<W>(inverse_factorial<T>(k));
    p = p * r * r + r;
    constexpr typename F::Bits one = (typename F::Bits(1) << (F::mantissa == 23 ? 7 : 10)) - 1;
    const I power = (reinterpret_cast<I>(shifted) + one) << F::mantissa;  // the bits of 2^n
    const V scale = reinterpret_cast<V>(power);
    return scale * p + (scale - broadcast<W>(T(1)));
}

template <class T, int W>
SECATEUR_INLINE Vec<T, W> logistic(Vec<T, W> x) {
    return broadcast<W>(T(1)) / (broadcast<W>(T(2)) + expm1<T, W>(clamped<T, W>(-x, Float<T>::widest)));
}

template <class T, int W>
SECATEUR_INLINE Vec<T, W> hyperbolic_tangent(Vec<T, W> x) {
    const Vec<T, W> e = expm1<T, W>(clamped<T, W>(x + x, 2 * Float<T>::saturated));
    return e / (e + broadcast<W>(T(2)));
}

}  // namespace secateur::SECATEUR_ISA
