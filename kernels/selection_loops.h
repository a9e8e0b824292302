// The loops of a selection, for one instruction set. Groups of 8 or 16 numbers are compared at once; lanes are reversed in each eight,
// so that a comparison's bits are a mask's bits.
#pragma once

#include "flags.h"
#include "selection.h"
#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {

// The squares of eight numbers whose bits are set, else zero; the first's bit is the lowest. Those of floats are exact.
SECATEUR_INLINE Vec<double, 8> squares_of(Vec<float, 8> numbers, unsigned bits) {
    const Vec<std::int32_t, 8> each{1, 2, 4, 8, 16, 32, 64, 128}, set = (broadcast<8>(std::int32_t(bits)) & each) == each;
    const auto doubles = __builtin_convertvector((Vec<float, 8>)((Vec<std::int32_t, 8>)numbers & set), Vec<double, 8>);
    return doubles * doubles;
}

// Eight numbers, one byte of a mask, in plain C++.
template <class T>
struct Octets {
    static constexpr int width = 8;
    using Bits = unsigned;
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
    // Which of the lanes `of` lie above a bound, at it or above, at it.
    SECATEUR_INLINE unsigned above(T bound, unsigned of) const { return of & where([=](T x) { return x > bound; }); }
    SECATEUR_INLINE unsigned from(T bound, unsigned of) const { return of & where([=](T x) { return x >= bound; }); }
    SECATEUR_INLINE unsigned equal(T bound, unsigned of) const { return of & where([=](T x) { return x == bound; }); }
    static SECATEUR_INLINE unsigned without(unsigned bits, unsigned others) { return bits & ~others; }
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
    SECATEUR_INLINE void add_squares(unsigned bits, Vec<double, 8>* sums) const { *sums += squares_of(load<8>(lanes), bits); }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const std::int64_t count = __builtin_popcount(bits);
        for (; bits; bits &= bits - 1) *to++ = first + std::uint32_t(7 - __builtin_ctz(bits));
        return count;
    }
};

#if defined(__AVX512F__)
template <>
struct Octets<float> {
    static constexpr int width = 16;
    using Bits = __mmask16;
    __m512 lanes;

    static SECATEUR_INLINE Octets of(const float* from, bool magnitude) {
        const __m512i back = _mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
        const __m512 x = _mm512_permutexvar_ps(back, _mm512_loadu_ps(from));
        return {magnitude ? _mm512_abs_ps(x) : x};
    }
    static SECATEUR_INLINE Bits bits(const std::uint8_t* mask) {
        std::uint16_t both;
        __builtin_memcpy(&both, mask, 2);
        return both;
    }
    static SECATEUR_INLINE void put(std::uint8_t* mask, Bits bits) { __builtin_memcpy(mask, &bits, 2); }
    SECATEUR_INLINE Bits above(float bound, Bits of) const { return _mm512_mask_cmp_ps_mask(of, lanes, _mm512_set1_ps(bound), _CMP_GT_OQ); }
    SECATEUR_INLINE Bits from(float bound, Bits of) const { return _mm512_mask_cmp_ps_mask(of, lanes, _mm512_set1_ps(bound), _CMP_GE_OQ); }
    SECATEUR_INLINE Bits equal(float bound, Bits of) const { return _mm512_mask_cmp_ps_mask(of, lanes, _mm512_set1_ps(bound), _CMP_EQ_OQ); }
    static SECATEUR_INLINE Bits without(Bits bits, Bits others) { return _kandn_mask16(others, bits); }
    struct Odd {  // the largest bits without their sign: those of infinities and of what is no number are the largest of all
        __m512i largest = _mm512_setzero_si512();
        SECATEUR_INLINE void look(const Octets& group, Bits bits) {
            const __m512i unsigned_bits = _mm512_and_si512(_mm512_castps_si512(group.lanes), _mm512_set1_epi32(0x7fffffff));
            largest = _mm512_mask_max_epu32(largest, bits, largest, unsigned_bits);
        }
        SECATEUR_INLINE bool any() const { return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7f800000)) != 0; }
    };
    SECATEUR_INLINE std::int64_t append(float* to, Bits bits) const {
        _mm512_storeu_ps(to, _mm512_maskz_compress_ps(bits, lanes));
        return __builtin_popcount(bits);
    }
    SECATEUR_INLINE void add_squares(Bits bits, Vec<double, 8>* sums) const {
        const __m512 set = _mm512_maskz_mov_ps(bits, lanes);
        const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(set)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(set, 1));
        sums[0] = _mm512_fmadd_pd(low, low, sums[0]);
        sums[1] = _mm512_fmadd_pd(high, high, sums[1]);
    }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, Bits bits) {
        const __m512i back = _mm512_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(back, _mm512_set1_epi32(int(first)))));
        return __builtin_popcount(bits);
    }
};

template <>
struct Octets<double> {
    static constexpr int width = 8;
    using Bits = __mmask8;
    __m512d lanes;

    static SECATEUR_INLINE Octets of(const double* from, bool magnitude) {
        const __m512d x = _mm512_permutexvar_pd(_mm512_setr_epi64(7, 6, 5, 4, 3, 2, 1, 0), _mm512_loadu_pd(from));
        return {magnitude ? _mm512_abs_pd(x) : x};
    }
    static SECATEUR_INLINE Bits bits(const std::uint8_t* mask) { return *mask; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, Bits bits) { *mask = bits; }
    SECATEUR_INLINE Bits above(double bound, Bits of) const { return _mm512_mask_cmp_pd_mask(of, lanes, _mm512_set1_pd(bound), _CMP_GT_OQ); }
    SECATEUR_INLINE Bits from(double bound, Bits of) const { return _mm512_mask_cmp_pd_mask(of, lanes, _mm512_set1_pd(bound), _CMP_GE_OQ); }
    SECATEUR_INLINE Bits equal(double bound, Bits of) const { return _mm512_mask_cmp_pd_mask(of, lanes, _mm512_set1_pd(bound), _CMP_EQ_OQ); }
    static SECATEUR_INLINE Bits without(Bits bits, Bits others) { return _kandn_mask8(others, bits); }
    struct Odd {
        __m512i largest = _mm512_setzero_si512();
        SECATEUR_INLINE void look(const Octets& group, Bits bits) {
            const __m512i unsigned_bits = _mm512_and_si512(_mm512_castpd_si512(group.lanes), _mm512_set1_epi64(0x7fffffffffffffff));
            largest = _mm512_mask_max_epu64(largest, bits, largest, unsigned_bits);
        }
        SECATEUR_INLINE bool any() const { return _mm512_cmpge_epu64_mask(largest, _mm512_set1_epi64(0x7ff0000000000000)) != 0; }
    };
    SECATEUR_INLINE std::int64_t append(double* to, Bits bits) const {
        _mm512_storeu_pd(to, _mm512_maskz_compress_pd(bits, lanes));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, Bits bits) {
        return Octets<float>::append_places(to, first, bits);
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
    using Bits = unsigned;
    __m256 lanes;

    static SECATEUR_INLINE Octets of(const float* from, bool magnitude) {
        const __m256 x = _mm256_permutevar8x32_ps(_mm256_loadu_ps(from), _mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0));
        return {magnitude ? _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x) : x};
    }
    static SECATEUR_INLINE unsigned bits(const std::uint8_t* mask) { return *mask; }
    static SECATEUR_INLINE void put(std::uint8_t* mask, unsigned bits) { *mask = std::uint8_t(bits); }
    SECATEUR_INLINE unsigned above(float bound, unsigned of) const { return of & unsigned(_mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_GT_OQ))); }
    SECATEUR_INLINE unsigned from(float bound, unsigned of) const { return of & unsigned(_mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_GE_OQ))); }
    SECATEUR_INLINE unsigned equal(float bound, unsigned of) const { return of & unsigned(_mm256_movemask_ps(_mm256_cmp_ps(lanes, _mm256_set1_ps(bound), _CMP_EQ_OQ))); }
    static SECATEUR_INLINE unsigned without(unsigned bits, unsigned others) { return bits & ~others; }
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
    SECATEUR_INLINE void add_squares(unsigned bits, Vec<double, 8>* sums) const { *sums += squares_of(lanes, bits); }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const __m256i back = _mm256_add_epi32(_mm256_setr_epi32(7, 6, 5, 4, 3, 2, 1, 0), _mm256_set1_epi32(int(first)));
        const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(back, lanes));
        return __builtin_popcount(bits);
    }
};
#endif

// So many numbers ahead are fetched: pages that no cache holds yet come twice as fast as when the processor looks ahead by itself.
inline constexpr std::int64_t ahead = 2048;

SECATEUR_INLINE bool is_set(const std::uint8_t* mask, std::int64_t i) { return mask[i >> 3] >> (7 - (i & 7)) & 1; }

template <class T>
SECATEUR_INLINE T ranked(T score, bool magnitude) {
    return magnitude && score < 0 ? -score : score;
}

template <class T, bool magnitude, bool places, bool squares = false>
bool scan_as(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, T low, T high, Collected<T> found, std::int64_t* collected,
             std::int64_t* above, double* sums) {
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
    typename G::Bits negative{};
    const auto one = [&] {
        const T score = ranked(scores[i], magnitude);
        const bool candidate = is_set(candidates, i), over = candidate && score > high;
        odd |= candidate && !(score - score == 0 && (!squares || score >= 0));
        higher += over;
        if constexpr (places) {
            std::uint8_t& byte = chosen[i >> 3];
            const auto bit = std::uint8_t(128 >> (i & 7));
            byte = std::uint8_t(over ? byte | bit : byte & ~bit);
        }
        if constexpr (squares)
            if (over) sums[(i & 8) + 7 - (i & 7)] += double(score) * double(score);  // in the order of lanes
        if (candidate && score >= low && !over) {
            if constexpr (places)
                collected_places[count++] = std::uint32_t(i - origin);
            else
                collected_scores[count++] = score;
        }
    };
    for (; i < end && (i & (squares ? 15 : 7)); ++i) one();
    Vec<double, 8> lanes[2] = {};
    if constexpr (squares) lanes[0] = load<8>(sums), lanes[1] = load<8>(sums + 8);
    constexpr int together = 16;
    for (; i + together <= end; i += together) {
        __builtin_prefetch(scores + i + ahead);
        SECATEUR_UNROLL for (int k = 0; k < together; k += G::width) {
            const auto bits = G::bits(candidates + ((i + k) >> 3));
            const G group = G::of(scores + i + k, magnitude);
            const auto over = group.above(high, bits);
            const auto within = G::without(group.from(low, bits), over);
            odd_lanes.look(group, bits);
            higher += __builtin_popcount(over);
            if constexpr (squares) {
                negative |= G::without(bits, group.from(T(0), bits));
                group.add_squares(over, lanes + k / 8);
            }
            if constexpr (places) {
                G::put(chosen + ((i + k) >> 3), over);
                count += G::append_places(collected_places + count, std::uint32_t(i + k - origin), within);
            } else {
                count += group.append(collected_scores + count, within);
            }
        }
    }
    if constexpr (squares) store<8>(sums, lanes[0]), store<8>(sums + 8, lanes[1]);
    for (; i < end; ++i) one();
    if constexpr (places)  // these are near still: to pack them beside their places would take longer
        for (std::int64_t k = 0; k < count; ++k) collected_scores[k] = ranked(scores[origin + collected_places[k]], magnitude);
    *collected += count;
    *above += higher;
    return !odd && !odd_lanes.any() && !negative;
}

template <class T>
bool scan(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, bool magnitude, T low, T high, Collected<T> found,
          std::int64_t* collected, std::int64_t* above, double* squares) {
    auto as = found.places ? (magnitude ? scan_as<T, true, true> : scan_as<T, false, true>)
                           : (magnitude ? scan_as<T, true, false> : scan_as<T, false, false>);
    if constexpr (sizeof(T) == sizeof(float))
        if (squares) as = scan_as<T, false, true, true>;
    return as(stretch, begin, end, low, high, found, collected, above, squares);
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
        const auto bits = G::bits(stretch.candidates + (i >> 3));
        const G group = G::of(stretch.scores + i, magnitude);
        const auto equal = group.equal(threshold, bits);
        const std::int64_t ties = __builtin_popcount(equal);
        if (left > 0 && ties > left) {
            for (int j = 0; j < G::width; ++j) one(i + j);
        } else {
            G::put(stretch.chosen + (i >> 3), left > 0 ? group.from(threshold, bits) : group.above(threshold, bits));
            left -= left > 0 ? ties : 0;
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
SECATEUR_INLINE std::int64_t count_from(const T* values, std::int64_t size, T bound) {
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

// Whole numbers in the order of the floating-point ones.
template <class T>
struct Places;
template <>
struct Places<float> {
    using Bits = std::uint32_t;
};
template <>
struct Places<double> {
    using Bits = std::uint64_t;
};

template <class T, class Bits = typename Places<T>::Bits>
SECATEUR_INLINE Bits place_of(T value) {
    constexpr Bits sign = Bits(1) << (8 * sizeof(T) - 1);
    const auto bits = __builtin_bit_cast(Bits, value);
    return bits & sign ? Bits(~bits) : Bits(bits | sign);
}

template <class T, class Bits = typename Places<T>::Bits>
SECATEUR_INLINE T value_at(Bits place) {
    constexpr Bits sign = Bits(1) << (8 * sizeof(T) - 1);
    return __builtin_bit_cast(T, place & sign ? Bits(place & ~sign) : Bits(~place));
}

template <class T>
T of_rank(const T* values, std::int64_t size, std::int64_t rank, T low, T high, std::int64_t* above) {
    using G = Octets<T>;
    constexpr std::int64_t few = 16;
    if (const T width = high - low; !(width - width == 0)) {  // bounds that say nothing: take the numbers' own
        constexpr int W = widest<T>;
        auto least = broadcast<W>(values[0]), most = least;
        std::int64_t i = 0;
        for (; i + W <= size; i += W) {
            const auto these = load<W>(values + i);
            least = these < least ? these : least;
            most = these > most ? these : most;
        }
        low = high = values[0];
        for (int j = 0; j < W; ++j) low = least[j] < low ? least[j] : low, high = most[j] > high ? most[j] : high;
        for (; i < size; ++i) low = values[i] < low ? values[i] : low, high = values[i] > high ? values[i] : high;
    }
    auto from = place_of(low), to = place_of(high);
    const auto top = to;
    // `rank` numbers or more lie at `from` or above it, fewer above `to`. Where the one looked for would be if they lay evenly, and the
    // middle of what is left, are tried in turn.
    std::int64_t at_from = size, over = 0;
    for (bool halve = false; from < to && at_from - over > few; halve = !halve) {
        auto place = from + (to - from) / 2 + 1;
        const T least = value_at<T>(from), most = value_at<T>(to);
        const T guess = least + (most - least) * (T(at_from - rank) / T(at_from - over));
        if (!halve && guess > least && guess <= most && guess - guess == 0) place = place_of(guess);
        const std::int64_t count = count_from(values, size, value_at<T>(place));
        if (count >= rank)
            from = place, at_from = count;
        else
            to = place - 1, over = count;
    }
    *above = over;
    if (from == to) return value_at<T>(from);
    T left[few + G::width];
    std::int64_t count = 0;
    const T least = value_at<T>(from), beyond = to == top ? T(0) : value_at<T>(to + 1);
    std::int64_t i = 0;
    for (; i + G::width <= size; i += G::width) {
        const G group = G::of(values + i, false);
        const auto all = typename G::Bits((1u << G::width) - 1), bits = group.from(least, all);
        count += group.append(left + count, to == top ? bits : G::without(bits, group.from(beyond, bits)));
    }
    for (; i < size; ++i)
        if (values[i] >= least && (to == top || !(values[i] >= beyond))) left[count++] = values[i];
    for (std::int64_t i = 0;; ++i) {
        std::int64_t higher = over, equal = 0;
        for (std::int64_t j = 0; j < count; ++j) higher += left[j] > left[i], equal += left[j] == left[i];
        *above = higher;
        if (i + 1 == count || (higher < rank && rank <= higher + equal)) return left[i];
    }
}

template <class T>
void fill(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value) {
    std::uint8_t set[flags_at_once], flags[flags_at_once];
    for (std::int64_t first = 0; first < size; first += flags_at_once) {
        const std::int64_t count = size - first < flags_at_once ? size - first : flags_at_once, bytes = (count + 7) / 8;
        std::uint8_t any = 0;
        for (std::int64_t i = 0; i < bytes; ++i) any |= set[i] = std::uint8_t(bits[first / 8 + i] & ~(except ? except[first / 8 + i] : 0));
        if (!any) continue;
        spread_bits(set, bytes, flags);
        T* __restrict to = values + first;
        for (std::int64_t i = 0; i < count; i += 64 / std::int64_t(sizeof(T))) __builtin_prefetch(to + ahead + i, 1);
        for (std::int64_t i = 0; i < count; ++i) to[i] = flags[i] ? value : to[i];
    }
}

// For each byte of a mask its bits, the highest first, as whole numbers without or with all bits set.
struct Spread {
    alignas(32) std::int32_t lanes[256][8];
    constexpr Spread() : lanes() {
        for (int byte = 0; byte < 256; ++byte)
            for (int i = 0; i < 8; ++i) lanes[byte][i] = byte >> (7 - i) & 1 ? -1 : 0;
    }
};
inline constexpr Spread spread{};

// The magnitudes of eight numbers where bits are set, else zero.
template <class T>
SECATEUR_INLINE Vec<double, 8> magnitudes(std::uint8_t bits, const T* from) {
    using Bits = Vec<typename Places<T>::Bits, 8>;
    const Bits set = __builtin_convertvector(load<8>(spread.lanes[bits]), Bits), positive = ~Bits{} >> 1;
    return __builtin_convertvector((Vec<T, 8>)((Bits)load<8>(from) & set & positive), Vec<double, 8>);
}

template <class T>
void copy(const std::uint8_t* bits, std::int64_t size, const T* values, T* copied) {
    std::uint8_t flags[flags_at_once];
    for (std::int64_t first = 0; first < size; first += flags_at_once) {
        const std::int64_t count = size - first < flags_at_once ? size - first : flags_at_once;
        spread_bits(bits + first / 8, (count + 7) / 8, flags);
        const T* __restrict from = values + first;
        T* __restrict to = copied + first;
        for (std::int64_t i = 0; i < count; i += 64 / std::int64_t(sizeof(T))) __builtin_prefetch(from + ahead + i), __builtin_prefetch(to + ahead + i, 1);
        for (std::int64_t i = 0; i < count; ++i) to[i] = flags[i] ? from[i] : T(0);
    }
}

template <class T>
double magnitude(const std::uint8_t* bits, std::int64_t size, const T* values) {
    // Sixteen sums with every instruction set, so that they are the same.
    Vec<double, 8> sums[2] = {};
    std::int64_t i = 0;
    for (; i + 16 <= size; i += 16)
        SECATEUR_UNROLL for (int half = 0; half < 2; ++half) {
            __builtin_prefetch(values + i + 8 * half + ahead);
            sums[half] += magnitudes(bits[i / 8 + half], values + i + 8 * half);
        }
    for (; i < size; i += 8) {
        T last[8] = {};
        for (std::int64_t j = i; j < size && j < i + 8; ++j) last[j - i] = values[j];
        sums[i / 8 % 2] += magnitudes(bits[i / 8], last);
    }
    double sum = 0;
    for (const auto& each : sums)
        for (int j = 0; j < 8; ++j) sum += each[j];
    return sum;
}

inline std::int64_t count(const std::uint8_t* bits, std::int64_t words) {
    std::int64_t found = 0;
    for (std::int64_t i = 0; i < words; ++i) {
        std::uint64_t word;
        __builtin_memcpy(&word, bits + 8 * i, 8);
        found += __builtin_popcountll(word);
    }
    return found;
}

template <class T>
constexpr SelectionLoops<T> selection_loops() {
    return {scan<T>, mark<T>, of_rank<T>, fill<T>, copy<T>, magnitude<T>};
}

extern const SelectionInstructions selection;
const SelectionInstructions selection{selection_loops<float>(), selection_loops<double>(), count};

}  // namespace secateur::SECATEUR_ISA
