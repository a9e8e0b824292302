// Sparse linear layers one after another in one call: activations stay feature-major between them.
#pragma once

#include <cstdint>
#include <vector>

#include "pattern.h"

namespace secateur {

template <class T>
struct ChainLayer {  // W x + bias, and where `relu` what of it is positive
    const Pattern* pattern;
    const T* values;  // (survivors)
    const T* bias;    // (rows) or null
    bool relu;
};

// y (batch, rows of the last layer) from x (batch, columns of the first); each layer's rows are the next one's columns. At least one layer.
template <class T>
void chain_forward(const std::vector<ChainLayer<T>>& layers, const T* x, std::int64_t batch, T* y, int threads);

}  // namespace secateur
