// Examples kept as bytes, gathered as the numbers that a network takes: one pass from a quarter of the memory.
#pragma once

#include <cstdint>

namespace secateur {

// out[i] = table[rows[i]] * factor + shift, where an example is `channels` runs of `run` bytes, each with its own factor and shift.
struct ScaledRows {
    const std::uint8_t* table;
    const std::int64_t* rows;
    std::int64_t count, channels, run;
    const float* factor;
    const float* shift;
    float* out;
    int threads;
};

void gather_scaled(const ScaledRows& batch);

}  // namespace secateur
