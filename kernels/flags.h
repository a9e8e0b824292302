// Packed bits: as flags, a byte each; turned around; counted.
#pragma once

#include "simd.h"

namespace secateur::SECATEUR_ISA {

inline constexpr std::int64_t flags_at_once = 512;  // a multiple of 64 whose flags stay near

// flags[8 i + j]: bit j of bits[i], the first its highest, as 0 or 1.
SECATEUR_INLINE void spread_bits(const std::uint8_t* bits, std::int64_t bytes, std::uint8_t* flags) {
    for (std::int64_t i = 0; i < bytes; ++i) {
        const std::uint64_t one_each = bits[i] * 0x0101010101010101u & 0x0102040810204080u;
        const std::uint64_t spread = (one_each + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
        __builtin_memcpy(flags + 8 * i, &spread, 8);
    }
}

template <class V>
SECATEUR_INLINE V turned(V bytes) {
    bytes = (bytes >> 4 & 0x0f0f0f0f0f0f0f0fu) | (bytes & 0x0f0f0f0f0f0f0f0fu) << 4;
    bytes = (bytes >> 2 & 0x3333333333333333u) | (bytes & 0x3333333333333333u) << 2;
    return (bytes >> 1 & 0x5555555555555555u) | (bytes & 0x5555555555555555u) << 1;
}

// Each byte's bits the other way around.
SECATEUR_INLINE void turn_bits(const std::uint8_t* from, std::int64_t bytes, std::uint8_t* to) {
    constexpr int W = widest<std::uint64_t>;
    std::int64_t i = 0;
    for (; i + 8 * W <= bytes; i += 8 * W) {
        Vec<std::uint64_t, W> word;
        __builtin_memcpy(&word, from + i, sizeof word);
        word = turned(word);
        __builtin_memcpy(to + i, &word, sizeof word);
    }
    for (; i + 8 <= bytes; i += 8) {
        std::uint64_t word;
        __builtin_memcpy(&word, from + i, 8);
        word = turned(word);
        __builtin_memcpy(to + i, &word, 8);
    }
    for (; i < bytes; ++i) to[i] = std::uint8_t(turned(std::uint64_t(from[i])));
}

// How many bits are set.
SECATEUR_INLINE std::int64_t count_bits(const std::uint8_t* bits, std::int64_t bytes) {
    std::int64_t count = 0, i = 0;
    for (; i + 8 <= bytes; i += 8) {
        std::uint64_t word;
        __builtin_memcpy(&word, bits + i, 8);
        count += __builtin_popcountll(word);
    }
    for (; i < bytes; ++i) count += __builtin_popcount(bits[i]);
    return count;
}

SECATEUR_INLINE bool is_set(const std::uint8_t* mask, std::int64_t i) { return mask[i >> 3] >> (7 - (i & 7)) & 1; }

}  // namespace secateur::SECATEUR_ISA
