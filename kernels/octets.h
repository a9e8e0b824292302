// Groups of eight or sixteen numbers and what is asked of them all at once, for one instruction set. The first one's bit is the lowest.
#pragma once

#include "simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {

// Whole numbers of the width of floating-point ones.
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

// Those of eight numbers whose bits are set, else zero; the first's bit is the lowest.
template <class T>
SECATEUR_INLINE Vec<double, 8> numbers_where(unsigned bits, typename Vector<T, 8>::type numbers) {
    using Whole = Vec<typename Places<T>::Bits, 8>;
    const Whole each{1, 2, 4, 8, 16, 32, 64, 128}, set = (Whole)((broadcast<8>(typename Places<T>::Bits(bits)) & each) == each);
    return __builtin_convertvector((Vec<T, 8>)((Whole)numbers & set), Vec<double, 8>);
}

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
        for (int i = 0; i < 8; ++i) group.lanes[i] = magnitude && from[i] < 0 ? -from[i] : from[i];
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
    // Whether any of the lanes whose bits were given so far is not finite; or, of those looked at with their signs, below zero or -0.
    struct Odd {
        unsigned found = 0;
        SECATEUR_INLINE void look(const Octets& group, unsigned bits) { found |= bits & ~group.where([](T x) { return x - x == 0; }); }
        SECATEUR_INLINE void look_signed(const Octets& group, unsigned bits) {
            look(group, bits);
            found |= bits & group.where([](T x) { return __builtin_signbit(x) != 0; });
        }
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
    static SECATEUR_INLINE void add_squares(const T* from, unsigned bits, Vec<double, 8>* sums) { *sums += squares_of(load<8>(from), bits); }
    // Adds the lanes whose bits are set.
    SECATEUR_INLINE void add_where(unsigned bits, Vec<double, 8>* sums) const { *sums += numbers_where<T>(bits, load<8>(lanes)); }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const std::int64_t count = __builtin_popcount(bits);
        for (; bits; bits &= bits - 1) *to++ = first + std::uint32_t(__builtin_ctz(bits));
        return count;
    }
    // The numbers of `from` whose bits are set, in front.
    static SECATEUR_INLINE std::int64_t pack(std::uint32_t* to, const std::uint32_t* from, unsigned bits) {
        std::int64_t count = 0;
        for (int i = 0; i < 8; ++i) {
            to[count] = from[i];
            count += bits >> i & 1;
        }
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
        const __m512 x = _mm512_loadu_ps(from);
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
        SECATEUR_INLINE void look_signed(const Octets& group, Bits bits) {
            largest = _mm512_mask_max_epu32(largest, bits, largest, _mm512_castps_si512(group.lanes));
        }
        SECATEUR_INLINE bool any() const { return _mm512_cmpge_epu32_mask(largest, _mm512_set1_epi32(0x7f800000)) != 0; }
    };
    SECATEUR_INLINE std::int64_t append(float* to, Bits bits) const {
        _mm512_storeu_ps(to, _mm512_maskz_compress_ps(bits, lanes));
        return __builtin_popcount(bits);
    }
    // From memory: to widen a register's halves would take a port that all else here waits for.
    static SECATEUR_INLINE void add_squares(const float* from, Bits bits, Vec<double, 8>* sums) {
        const __m512d low = _mm512_maskz_cvtps_pd(__mmask8(bits), _mm256_loadu_ps(from));
        const __m512d high = _mm512_maskz_cvtps_pd(__mmask8(bits >> 8), _mm256_loadu_ps(from + 8));
        sums[0] = _mm512_fmadd_pd(low, low, sums[0]);
        sums[1] = _mm512_fmadd_pd(high, high, sums[1]);
    }
    // By way of memory, as above; the compiler would take the registers' way.
    SECATEUR_INLINE void add_where(Bits bits, Vec<double, 8>* sums) const {
        float its[16];
        _mm512_storeu_ps(its, _mm512_maskz_mov_ps(bits, lanes));
        asm("" : "+m"(its));
        sums[0] += _mm512_cvtps_pd(_mm256_loadu_ps(its));
        sums[1] += _mm512_cvtps_pd(_mm256_loadu_ps(its + 8));
    }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, Bits bits) {
        const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(bits, _mm512_add_epi32(lanes, _mm512_set1_epi32(int(first)))));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE std::int64_t pack(std::uint32_t* to, const std::uint32_t* from, Bits bits) {
        _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(bits, _mm512_loadu_si512(from)));
        return __builtin_popcount(bits);
    }
};

template <>
struct Octets<double> {
    static constexpr int width = 8;
    using Bits = __mmask8;
    __m512d lanes;

    static SECATEUR_INLINE Octets of(const double* from, bool magnitude) {
        const __m512d x = _mm512_loadu_pd(from);
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
    SECATEUR_INLINE void add_where(Bits bits, Vec<double, 8>* sums) const { *sums += _mm512_maskz_mov_pd(bits, lanes); }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, Bits bits) {
        return Octets<float>::append_places(to, first, bits);
    }
    static SECATEUR_INLINE std::int64_t pack(std::uint32_t* to, const std::uint32_t* from, Bits bits) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_maskz_compress_epi32(bits, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
        return __builtin_popcount(bits);
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
        const __m256 x = _mm256_loadu_ps(from);
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
        SECATEUR_INLINE void look_signed(const Octets& group, unsigned bits) {
            look(group, bits);
            found |= bits & unsigned(_mm256_movemask_ps(group.lanes));
        }
        SECATEUR_INLINE bool any() const { return found != 0; }
    };
    SECATEUR_INLINE std::int64_t append(float* to, unsigned bits) const {
        _mm256_storeu_ps(to, _mm256_permutevar8x32_ps(lanes, _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]))));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE void add_squares(const float* from, unsigned bits, Vec<double, 8>* sums) { *sums += squares_of(load<8>(from), bits); }
    SECATEUR_INLINE void add_where(unsigned bits, Vec<double, 8>* sums) const { *sums += numbers_where<float>(bits, (Vec<float, 8>)lanes); }
    static SECATEUR_INLINE std::int64_t append_places(std::uint32_t* to, std::uint32_t first, unsigned bits) {
        const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_add_epi32(lanes, _mm256_set1_epi32(int(first))));
        return __builtin_popcount(bits);
    }
    static SECATEUR_INLINE std::int64_t pack(std::uint32_t* to, const std::uint32_t* from, unsigned bits) {
        const __m256i lanes = _mm256_load_si256(reinterpret_cast<const __m256i*>(fronts.lanes[bits]));
        const __m256i numbers = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(numbers, lanes));
        return __builtin_popcount(bits);
    }
};
#endif

}  // namespace secateur::SECATEUR_ISA
