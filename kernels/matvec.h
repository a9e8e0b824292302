// One example: a row's sum gathers the numbers it needs from the input.
#pragma once

#include "primitives.h"
#include "simd.h"

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

namespace secateur::SECATEUR_ISA {

template <class T, bool Singly>
SECATEUR_INLINE T gathered_dot(const std::uint16_t* columns, const T* values, std::uint32_t length, const T* x) {
    T sums[4] = {};
    std::uint32_t k = 0;
    for (; k + 4 <= length; k += 4)
        for (int j = 0; j < 4; ++j) sums[j] += values[k + j] * x[columns[k + j]];
    for (; k < length; ++k) sums[0] += values[k] * x[columns[k]];
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

#if defined(__AVX512F__)
// The four numbers of x at four columns.
SECATEUR_INLINE __m128 four_of(const float* x, Together<4, std::uint16_t> columns) {
    __m128 found = _mm_load_ss(x + columns[0]);
    found = _mm_insert_ps(found, _mm_load_ss(x + columns[1]), 0x10);
    found = _mm_insert_ps(found, _mm_load_ss(x + columns[2]), 0x20);
    return _mm_insert_ps(found, _mm_load_ss(x + columns[3]), 0x30);
}

// Lane i sums survivors i, i + 16, ..., whether they are loaded one by one or gathered: the same bits.
template <bool Singly>
SECATEUR_INLINE float dot_of_lanes(const std::uint16_t* columns, const float* values, std::uint32_t length, const float* x) {
    __m512 sum = _mm512_setzero_ps();
    std::uint32_t k = 0;
    if constexpr (Singly) {
        __m128 quarter[4] = {};
        for (; k + 16 <= length; k += 16)
            SECATEUR_UNROLL for (int i = 0; i < 4; ++i)
                quarter[i] = _mm_fmadd_ps(_mm_loadu_ps(values + k + 4 * i), four_of(x, together<4>(columns + k + 4 * i)), quarter[i]);
        sum = _mm512_castps128_ps512(quarter[0]);
        sum = _mm512_insertf32x4(sum, quarter[1], 1);
        sum = _mm512_insertf32x4(sum, quarter[2], 2);
        sum = _mm512_insertf32x4(sum, quarter[3], 3);
    } else {
        for (; k + 16 <= length; k += 16) {
            const __m512i index = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns + k)));
            sum = _mm512_fmadd_ps(_mm512_loadu_ps(values + k), _mm512_i32gather_ps(index, x, 4), sum);
        }
    }
    if (k < length) {
        const __mmask16 rest = __mmask16((1u << (length - k)) - 1);
        const __m512i index = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rest, columns + k));
        const __m512 picked = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), rest, index, x, 4);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(rest, values + k), picked, sum);
    }
    return _mm512_reduce_add_ps(sum);
}
template <>
SECATEUR_INLINE float gathered_dot<float, true>(const std::uint16_t* columns, const float* values, std::uint32_t length, const float* x) {
    return dot_of_lanes<true>(columns, values, length, x);
}
template <>
SECATEUR_INLINE float gathered_dot<float, false>(const std::uint16_t* columns, const float* values, std::uint32_t length, const float* x) {
    return dot_of_lanes<false>(columns, values, length, x);
}
#endif

template <class T>
void add_gathered(T factor, const T* from, const std::int32_t* places, std::int64_t count, T* sums) {
    for (std::int64_t i = 0; i < count; ++i) sums[i] += factor * from[places[i]];
}

#if defined(__AVX512F__)
template <>
inline void add_gathered<float>(float factor, const float* from, const std::int32_t* places, std::int64_t count, float* sums) {
    const __m512 scale = _mm512_set1_ps(factor);
    for (std::int64_t i = 0; i < count; i += 16) {
        const __mmask16 valid = count - i < 16 ? __mmask16((1u << (count - i)) - 1) : __mmask16(0xFFFF);
        const __m512i index = _mm512_maskz_loadu_epi32(valid, places + i);
        const __m512 picked = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), valid, index, from, 4);
        _mm512_mask_storeu_ps(sums + i, valid, _mm512_fmadd_ps(scale, picked, _mm512_maskz_loadu_ps(valid, sums + i)));
    }
}
#endif

template <class T, bool Singly>
SECATEUR_INLINE void product_by_rows(const PlanView& plan, int panel, const std::uint16_t* low_columns, const T* values, const T* x, const T* bias, T* y) {
    for (std::int64_t block = 0; block < plan.blocks; ++block) {
        const Piece& piece = plan.piece(panel, block);
        const Segment* segment = plan.segments + piece.first_segment;
        for (std::uint32_t g = 0; g < piece.groups; ++g) {
            const Group group = plan.groups[piece.first_group + g];
            for (std::uint32_t s = 0; s < group.segments; ++s, ++segment) {
                const T start = block ? y[segment->line] : bias ? bias[segment->line] : T(0);
                y[segment->line] = start + gathered_dot<T, Singly>(low_columns + segment->start, values + segment->start, group.length, x + piece.base);
            }
        }
    }
}

template <class T>
void product_of_vector(const PlanView& plan, int panel, const std::uint16_t* low_columns, const T* values, const T* x, const T* bias, bool relu, T* y) {
    if (gathers_are_slow())
        product_by_rows<T, true>(plan, panel, low_columns, values, x, bias, y);
    else
        product_by_rows<T, false>(plan, panel, low_columns, values, x, bias, y);
    if (relu)
        for (std::uint32_t line = plan.panel_lines[panel]; line < plan.panel_lines[panel + 1]; ++line)
            if (y[line] < T(0)) y[line] = T(0);
}

}  // namespace secateur::SECATEUR_ISA
