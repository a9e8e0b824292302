// Loops over whole parameters, whose memory is fetched ahead of them.
#pragma once

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

}  // namespace secateur::SECATEUR_ISA
