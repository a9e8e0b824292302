// Edge-popup's loops over the weights: scores drawn, chosen by and updated, each in one pass.
#pragma once

#include "primitives.h"
#include "read_ahead.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {

// What a comparison of as many numbers as fit is: -1 in the lanes where it holds, else 0.
template <class T>
using Holds = decltype(Vec<T, widest<T>>{} > Vec<T, widest<T>>{});

// The lanes where it holds, a bit each.
template <class T, class V>
SECATEUR_INLINE unsigned lanes_of(V holds) {
#if defined(__AVX512F__)
    if constexpr (sizeof(T) == 4)
        return _mm512_movepi32_mask((__m512i)holds);
    else
        return _mm512_movepi64_mask((__m512i)holds);
#elif defined(__AVX2__)
    if constexpr (sizeof(T) == 4)
        return unsigned(_mm256_movemask_ps((__m256)holds));
    else
        return unsigned(_mm256_movemask_pd((__m256d)holds));
#else
    unsigned bits = 0;
    for (int i = 0; i < widest<T>; ++i) bits |= unsigned(holds[i] != 0) << i;
    return bits;
#endif
}

// Calls found(number) for each lane of several comparisons that holds, in order. It is rare that any does.
template <class T, int Count, class V, class F>
SECATEUR_INLINE void for_each_lane(const V* holds, F&& found) {
    V any = holds[0];
    SECATEUR_UNROLL for (int j = 1; j < Count; ++j) any |= holds[j];
    if (!lanes_of<T>(any)) return;
    SECATEUR_UNROLL for (int j = 0; j < Count; ++j)
        for (unsigned left = lanes_of<T>(holds[j]); left; left &= left - 1) found(j * widest<T> + __builtin_ctz(left));
}

// splitmix64 (Steele et al. 2014): number i of the sequence of `seed` is this of seed + (i + 1) * 0x9e3779b97f4a7c15.
template <class Bits>
SECATEUR_INLINE Bits mixed(Bits z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

template <class T>
void uniform(std::uint64_t seed, T bound, T* to, std::int64_t begin, std::int64_t end) {
    constexpr std::uint64_t golden = 0x9e3779b97f4a7c15u;
    constexpr T unit = T(1) / (1 << 23);
    constexpr int W = SECATEUR_VECTOR_BYTES / 8;
    using Bits = Vec<std::uint64_t, W>;
    using Halves = Vec<std::int32_t, 2 * W>;
    std::int64_t i = begin;
    Bits counters;
    for (int j = 0; j < W; ++j) counters[j] = seed + std::uint64_t(begin / 2 + j + 1) * golden;
    for (; i + 2 * W <= end; i += 2 * W) {
        const auto upper = (Halves)((Vec<std::uint32_t, 2 * W>)mixed(counters) >> 8);
        store<2 * W>(to + i, (__builtin_convertvector(upper, Vec<T, 2 * W>) * unit - 1) * bound);
        counters += W * golden;
    }
    for (; i < end; ++i) {
        const std::uint64_t both = mixed(seed + std::uint64_t(i / 2 + 1) * golden);
        to[i] = (T(std::uint32_t(both >> (i & 1 ? 32 : 0)) >> 8) * unit - 1) * bound;
    }
}

SECATEUR_INLINE bool is_candidate(const std::uint8_t* candidates, std::int64_t i) { return !candidates || candidates[i >> 3] >> (7 - (i & 7)) & 1; }

template <class T>
void popup_choose(const Popup<T>& p, const Bracket<T>& b, std::int64_t begin, std::int64_t end, Near& near) {
    constexpr int W = widest<T>, group = 4;
    const auto append = [&](std::int64_t i) {
        if (is_candidate(p.candidates, i)) near.places[near.found++] = i;
    };
    const auto range = [&](std::int64_t from, std::int64_t to) {
        std::int64_t i = from;
        Holds<T> counts{};
        for (; i + W * group <= to; i += W * group) {
            Holds<T> within[group];
            SECATEUR_UNROLL for (int j = 0; j < group; ++j) {
                const Vec<T, W> score = load<W>(p.scores + i + j * W), magnitude = score < 0 ? -score : score;
                const Holds<T> over = magnitude > b.high;
                counts -= over;
                within[j] = (magnitude >= b.low) & (magnitude <= b.high);
                store<W>(p.used + i + j * W, over ? load<W>(p.weights + i + j * W) : Vec<T, W>{});
            }
            for_each_lane<T, group>(within, [&](int number) { append(i + number); });
        }
        for (int j = 0; j < W; ++j) near.above += counts[j];
        for (; i < to; ++i) {
            const T magnitude = absolute(p.scores[i]);
            near.above += magnitude > b.high;
            p.used[i] = magnitude > b.high ? p.weights[i] : T(0);
            if (magnitude >= b.low && magnitude <= b.high) append(i);
        }
        if (p.candidates)
            for (i = from; i < to; ++i)
                if (!is_candidate(p.candidates, i)) {
                    near.above -= absolute(p.scores[i]) > b.high;
                    p.used[i] = 0;
                }
    };
    read_ahead<T>(begin, end, range, p.scores, p.weights, p.used);
}

// Last: nothing more is to be chosen, and no buffers are needed.
template <bool Last, class T>
void popup_step_of(const Popup<T>& p, const PopupStep<T>& s, const Bracket<T>& b, std::int64_t begin, std::int64_t end, Near& near) {
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
    const auto append = [&](std::int64_t i, T before, T after) {
        if (!is_candidate(p.candidates, i)) return;
        near.above += (after > b.high) - (before > b.high);
        near.places[near.found++] = i;
    };
    constexpr int W = widest<T>, group = 4;
    const auto range = [&](std::int64_t from, std::int64_t to) {
        std::int64_t i = from;
        for (; i + W * group <= to; i += W * group) {
            Vec<T, W> before[group], after[group];
            Holds<T> met[group];
            SECATEUR_UNROLL for (int j = 0; j < group; ++j) {
                const std::int64_t at = i + j * W;
                const Vec<T, W> score = load<W>(p.scores + at);
                Vec<T, W> stepped, gathered;
                step(load<W>(p.weights + at), load<W>(s.slopes + at), score, load<W>(s.buffers + at), stepped, gathered);
                if constexpr (!Last) store<W>(s.buffers + at, gathered);
                before[j] = score < 0 ? -score : score, after[j] = stepped < 0 ? -stepped : stepped;
                store<W>(p.scores + at, Last ? after[j] : stepped);
                const auto least = before[j] < after[j] ? before[j] : after[j], most = before[j] < after[j] ? after[j] : before[j];
                met[j] = (least <= b.high) & (most >= b.low);
            }
            if constexpr (!Last)
                for_each_lane<T, group>(met, [&](int number) { append(i + number, before[number / W][number % W], after[number / W][number % W]); });
        }
        for (; i < to; ++i) {
            T stepped, gathered;
            const T score = p.scores[i];
            step(p.weights[i], s.slopes[i], score, s.buffers[i], stepped, gathered);
            if (!Last) s.buffers[i] = gathered;
            p.scores[i] = Last ? absolute(stepped) : stepped;
            const T before = absolute(score), after = absolute(stepped);
            if (!Last && (before < after ? before : after) <= b.high && (before < after ? after : before) >= b.low) append(i, before, after);
        }
    };
    read_ahead<T>(begin, end, range, p.weights, s.slopes, p.scores, s.buffers);
}

template <class T>
void popup_step(const Popup<T>& p, const PopupStep<T>& s, const Bracket<T>& b, std::int64_t begin, std::int64_t end, Near& near) {
    (p.used ? popup_step_of<false, T> : popup_step_of<true, T>)(p, s, b, begin, end, near);
}

}  // namespace secateur::SECATEUR_ISA
