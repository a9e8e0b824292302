// A whole sparse linear layer in one call: y = W x + bias, and all its gradients.
#pragma once

#include <cstdint>

#include "pattern.h"

namespace secateur {

// Activations are (batch, features), torch's layout, or (features, batch) where `feature_major`; always contiguous.
template <class T>
struct LinearForward {
    const Pattern* pattern;
    const T* values;  // (survivors)
    const T* bias;    // (rows) or null
    const T* x;
    bool feature_major;
    std::int64_t batch;
    bool relu;
    T* y;
    int threads;
};

template <class T>
struct LinearBackward {
    const Pattern* pattern;
    const T* values;
    const T* x;  // as the forward pass took it; may be null without dvalues
    const T* dy;
    const T* y;  // the layer's output where it ended in a ReLU, else null
    bool feature_major;
    std::int64_t batch;
    T* dx;       // null where not wanted; so too the next two
    T* dvalues;
    T* dbias;
    int threads;
};

template <class T>
void linear_forward(const LinearForward<T>& layer);
template <class T>
void linear_backward(const LinearBackward<T>& layer);

}  // namespace secateur
