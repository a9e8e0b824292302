// Packed bits as flags, a byte each.
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

}  // namespace secateur::SECATEUR_ISA
