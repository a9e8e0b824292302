// The loops of a selection, for one instruction set. Groups of 8 or 16 numbers are compared at once; lanes are reversed in each eight,
// so that a comparison's bits are a mask's bits.
#pragma once

#include "selection.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {

// Eight numbers, one byte of a mask, in plain C++.
template <class T>
struct Octets {
    static constexpr int width = 8;
    T lanes[8];

    static SECATEUR_INLINE Octets of(const T* from, bool magnitude) {
        Octets group;
        for (int i = 0; i < 8; ++i) group.lanes[i] = magnitude && from[7 - i] < 0 ? -from[7 - i] : from[7 - i];
        return group;
    }
    static SECATEUR_INLINE unsigned bits(const std::uint8_t* mask) { return *mask; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, unsigned bits) { *mask = std::uint8_t(bits); }
    template <class F>
    SECATEUR_INLINE unsigned where(F&& holds) const {
        unsigned found = 0;
        for (int i = 0; i < 8; ++i) found |= unsigned(holds(lanes[i])) << i;
        return found;
    }
    SECATEUR_INLINE unsigned above(T bound) const { return where([=](T x) { return x > bound; }); }
    SECATEUR_INLINE unsigned from(T bound) const { return where([=](T x) { return x >= bound; }); }
    SECATEUR_INLINE unsigned equal(T bound) const { return where([=](T x) { return x == bound; }); }
    // Whether any of the lanes whose bits were given so far is not finite.
    struct Odd {
        unsigned found = 0;
        SECATEUR_INLINE void look(const Octets& group, unsigned bits) { found |= bits & ~group.where([](T x) { return x - x == 0; }); }
        SECATEUR_INLINE bool any() const { return found != 0; }
    };
    SECATEUR_INLINE std::int64_t append(T* to, unsigned bits) const {
        std::int64_t count = 0;
        for (int i = 0; i < 8; ++i) {
            to[count] = lanes[i];
            count += bits >> i & 1;
        }
        return count;
    }
    static SECATEUR_INLINE void append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        for (; bits; bits &= bits - 1) *to++ = first + std::uint32_t(7 - __builtin_ctz(bits));
    }
};

#if defined(__AVX512F__)
template <>
struct Octets<float> {
    static constexpr int width = 16;
    __m512 lanes;

    static SECATEUR_INLINE Octets of(const float* from, bool magnitude) {
        const __m512i back = _mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
        const __m512 x = _mm512_permutexvar_ps(back, _mm512_loadu_ps(from));
        return {magnitude ? _mm512_abs_ps(x) : x};
    }
    static SECATEUR_INLINE unsigned bits(const std::uint8_t* mask) { return unsigned(mask[0]) | unsigned(mask[1]) << 8; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, unsigned bits) {
        const auto both = std::uint16_t(bits);
        __builtin_memcpy(mask, &both, 2);
    }
    SECATEUR_INLINE unsigned above(float bound) const { return _mm512_cmp_ps_mask(lanes, _mm512_set1_ps(bound), _CMP_GT_OQ); }
    SECATEUR_INLINE unsigned from(float bound) const { return _mm512_cmp_ps_mask(lanes, _mm512_set1_ps(bound), _CMP_GE_OQ); }
    SECATEUR_INLINE unsigned equal(float bound) const { return _mm512_cmp_ps_mask(lanes, _mm512_set1_ps(bound), _CMP_EQ_OQ); }
    struct Odd {  // the largest bits without their sign: those of infinities and of what is no number are the largest of all
        __m512i largest = _mm512_setzero_si512();
        SECATEUR_INLINE void look(const Octets& group, unsigned bits) {
            const __m512i unsigned_bits = _mm512_and_si512(_mm512_castps_si512(group.lanes), _mm512_set1_epi32(0x7fffffff));
            largest = _mm512_mask_max_epu32(largest, __mmask16(bits), largest, unsigned_bits);
        }
        SECATEUR_INLINE bool any() const { return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7f800000)) != 0; }
    };
    SECATEUR_INLINE std::int64_t append(float* to, unsigned bits) const {
        _mm512_storeu_ps(to, _mm512_maskz_compress_ps(__mmask16(bits), lanes));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE void append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const __m512i back = _mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(__mmask16(bits), _mm512_add_epi32(back, _mm512_set1_epi32(int(first)))));
    }
};

template <>
struct Octets<double> {
    static constexpr int width = 8;
    __m512d lanes;

    static SECATEUR_INLINE Octets of(const double* from, bool magnitude) {
        const __m512d x = _mm512_permutexvar_pd(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_loadu_pd(from));
        return {magnitude ? _mm512_abs_pd(x) : x};
    }
    static SECATEUR_INLINE unsigned bits(const std::uint8_t* mask) { return *mask; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, unsigned bits) { *mask = std::uint8_t(bits); }
    SECATEUR_INLINE unsigned above(double bound) const { return _mm512_cmp_pd_mask(lanes, _mm512_set1_pd(bound), _CMP_GT_OQ); }
    SECATEUR_INLINE unsigned from(double bound) const { return _mm512_cmp_pd_mask(lanes, _mm512_set1_pd(bound), _CMP_GE_OQ); }
    SECATEUR_INLINE unsigned equal(double bound) const { return _mm512_cmp_pd_mask(lanes, _mm512_set1_pd(bound), _CMP_EQ_OQ); }
    struct Odd {
        __m512i largest = _mm512_setzero_si512();
        SECATEUR_INLINE void look(const Octets& group, unsigned bits) {
            const __m512i unsigned_bits = _mm512_and_si512(_mm512_castpd_si512(group.lanes), _mm512_set1_epi64(0x7fffffffffffffff));
            largest = _mm512_mask_max_epu64(largest, __mmask8(bits), largest, unsigned_bits);
        }
        SECATEUR_INLINE bool any() const { return _mm512_cmpge_epu64_mask(largest, _mm512_set1_epi64(0x7ff0000000000000)) != 0; }
    };
    SECATEUR_INLINE std::int64_t append(double* to, unsigned bits) const {
        _mm512_storeu_pd(to, _mm512_maskz_compress_pd(__mmask8(bits), lanes));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE void append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        Octets<float>::append_places(to, first, bits);
    }
};
#elif defined(__AVX2__)
// For each byte the lanes whose bits are set, in front.
struct Fronts {
    alignas(32) std::int32_t lanes[256][8];
    constexpr Fronts() : lanes() {
        for (int byte = 0; byte < 256; ++byte) {
            int count = 0;
            for (int i = 0; i < 8; ++i)
                if (byte >> i & 1) lanes[byte][count++] = i;
        }
    }
};
inline constexpr Fronts fronts{};

template <>
struct Octets<float> {
    static constexpr int width = 8;
    __m256 lanes;

    static SECATEUR_INLINE Octets of(const float* from, bool magnitude) {
        const __m256 x = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from), _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
        return {magnitude ? _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x) : x};
    }
    static SECATEUR_INLINE unsigned bits(const std::uint8_t* mask) { return *mask; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, unsigned bits) { *mask = std::uint8_t(bits); }
    SECATEUR_INLINE unsigned above(float bound) const { return _mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_GT_OQ)); }
    SECATEUR_INLINE unsigned from(float bound) const { return _mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_GE_OQ)); }
    SECATEUR_INLINE unsigned equal(float bound) const { return _mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_EQ_OQ)); }
    struct Odd {
        unsigned found = 0;
        SECATEUR_INLINE void look(const Octets& group, unsigned bits) {
            const __m256 finite = _mm256_cmp_ps(_mm256_sub_ps(group.lanes, group.lanes), _mm256_setzero_ps(), _CMP_EQ_OQ);
            found |= bits & ~unsigned(_mm256_movemask_ps(finite));
        }
        SECATEUR_INLINE bool any() const { return found != 0; }
    };
    SECATEUR_INLINE std::int64_t append(float* to, unsigned bits) const {
        _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(lanes, _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]))));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE void append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const __m256i back = _mm256_add_epi32(_mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set1_epi32(int(first)));
        const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(back, lanes));
    }
};
#endif

SECATEUR_INLINE bool is_set(const std::uint8_t* mask, std::int64_t i) { return mask[i >> 3] >> (7 - (i & 7)) & 1; }

template <class T>
SECATEUR_INLINE T ranked(T score, bool magnitude) {
    return magnitude && score < 0 ? -score : score;
}

template <class T, bool magnitude, bool places>
bool scan_as(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, T low, T high, Collected<T> found, std::int64_t* collected,
             std::int64_t* above) {
    using G = Octets<T>;
    const T* __restrict scores = stretch.scores;
    const std::uint8_t* __restrict candidates = stretch.candidates;
    std::uint8_t* __restrict chosen = stretch.chosen;
    T* __restrict collected_scores = found.scores;
    std::uint32_t* __restrict collected_places = found.places;
    const std::int64_t origin = stretch.begin;
    std::int64_t count = 0, higher = 0, i = begin;
    bool odd = false;
    typename G::Odd odd_lanes;
    const auto one = [&] {
        const T score = ranked(scores[i], magnitude);
        const bool candidate = is_set(candidates, i), over = candidate && score > high;
        odd |= candidate && !(score - score == 0);
        higher += over;
        if constexpr (places) {
            std::uint8_t& byte = chosen[i >> 3];
            const auto bit = std::uint8_t(128 >> (i & 7));
            byte = std::uint8_t(over ? byte | bit : byte & ~bit);
            if (candidate && score >= low && !over) collected_places[count] = std::uint32_t(i - origin);
        }
        if (candidate && score >= low && !over) collected_scores[count++] = score;
    };
    for (; i < end && (i & 7); ++i) one();
    for (; i + G::width <= end; i += G::width) {
        const unsigned bits = G::bits(candidates + (i >> 3));
        const G group = G::of(scores + i, magnitude);
        const unsigned over = group.above(high) & bits, within = bits & group.from(low) & ~over;
        odd_lanes.look(group, bits);
        higher += __builtin_popcount(over);
        if constexpr (places) {
            G::put(chosen + (i >> 3), over);
            G::append_places(collected_places + count, std::uint32_t(i - origin), within);
        }
        count += group.append(collected_scores + count, within);
    }
    for (; i < end; ++i) one();
    *collected += count;
    *above += higher;
    return !odd && !odd_lanes.any();
}

template <class T>
bool scan(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, bool magnitude, T low, T high, Collected<T> found,
          std::int64_t* collected, std::int64_t* above) {
    const auto as = found.places ? (magnitude ? scan_as<T, true, true> : scan_as<T, false, true>)
                                 : (magnitude ? scan_as<T, true, false> : scan_as<T, false, false>);
    return as(stretch, begin, end, low, high, found, collected, above);
}

template <class T, bool magnitude>
void mark_as(const Stretch<T>& stretch, T threshold, std::int64_t* ties) {
    using G = Octets<T>;
    std::int64_t i = stretch.begin, left = *ties;
    const auto one = [&](std::int64_t at) {
        const T score = ranked(stretch.scores[at], magnitude);
        if (!is_set(stretch.candidates, at)) return;
        const bool tie = score == threshold && left > 0;
        left -= tie;
        if (tie || score > threshold) stretch.chosen[at >> 3] |= std::uint8_t(128 >> (at & 7));
    };
    for (; i < stretch.end && (i & 7); ++i) one(i);
    for (; i + G::width <= stretch.end; i += G::width) {
        const unsigned bits = G::bits(stretch.candidates + (i >> 3));
        const G group = G::of(stretch.scores + i, magnitude);
        if (left > 0 && (bits & group.equal(threshold))) {
            for (int j = 0; j < G::width; ++j) one(i + j);
        } else {
            G::put(stretch.chosen + (i >> 3), bits & group.above(threshold));
        }
    }
    for (; i < stretch.end; ++i) one(i);
    *ties = left;
}

template <class T>
void mark(const Stretch<T>& stretch, bool magnitude, T threshold, std::int64_t* ties) {
    (magnitude ? mark_as<T, true> : mark_as<T, false>)(stretch, threshold, ties);
}

template <class T>
std::int64_t count_from(const T* values, std::int64_t size, T bound) {
    constexpr int W = widest<T>;
    std::int64_t count = 0;
    // Comparisons are -1 where they hold. Their sums, as whole numbers of the same width, are emptied long before they overflow.
    for (std::int64_t i = 0; i < size;) {
        const std::int64_t stop = size - i < (std::int64_t(1) << 24) ? size : i + (std::int64_t(1) << 24);
        auto a = load<W>(values) >= broadcast<W>(bound);
        a -= a;
        auto b = a, c = a, d = a;
        for (; i < stop; i += 4 * W) {
            a -= load<W>(values + i) >= broadcast<W>(bound);
            b -= load<W>(values + i + W) >= broadcast<W>(bound);
            c -= load<W>(values + i + 2 * W) >= broadcast<W>(bound);
            d -= load<W>(values + i + 3 * W) >= broadcast<W>(bound);
        }
        a += b + c + d;
        for (int j = 0; j < W; ++j) count += a[j];
    }
    return count;
}

template <class T>
constexpr SelectionLoops<T> selection_loops() {
    return {scan<T>, mark<T>, count_from<T>};
}

extern const SelectionInstructions selection;
const SelectionInstructions selection{selection_loops<float>(), selection_loops<double>()};

}  // namespace secateur::SECATEUR_ISA
