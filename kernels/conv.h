// A sparse 1-D convolution as a sparse product: the columns of the weight, (channel, tap), are shifted views of the padded input.
#pragma once

#include <cstdint>

#include "pattern.h"

namespace secateur {

// Activations are (batch, channels, length), contiguous, as torch has them.
struct ConvShape {
    std::int64_t batch, channels, length;  // of the input
    std::int64_t taps, stride, padding, dilation;

    std::int64_t padded() const { return length + 2 * padding; }
    std::int64_t reach() const { return dilation * (taps - 1); }
    std::int64_t positions() const { return padded() > reach() ? (padded() - reach() - 1) / stride + 1 : 0; }
    // The packed input holds `stride` rows a channel, one for each phase of the stride; an example takes `pitch` numbers of a row.
    std::int64_t pitch() const { return (padded() + stride - 1) / stride; }
};

// How many numbers of T the packed input takes.
template <class T>
std::int64_t conv_packed_size(const ConvShape& shape);

template <class T>
struct ConvForward {
    const Pattern* pattern;  // (outputs, channels * taps)
    ConvShape shape;
    const T* values;
    const T* bias;           // or null
    const T* x;
    bool relu;
    T* packed;               // conv_packed_size() numbers, for the backward pass; or null
    T* y;                    // (batch, outputs, positions)
    int threads;
};

template <class T>
struct ConvBackward {
    const Pattern* pattern;
    ConvShape shape;
    const T* values;
    const T* packed;
    const T* dy;
    const T* y;  // the output where it ended in a ReLU, else null
    T* dx;       // null where not wanted; so too the next two
    T* dvalues;
    T* dbias;
    int threads;
};

template <class T>
void conv_forward(const ConvForward<T>& layer);
template <class T>
void conv_backward(const ConvBackward<T>& layer);

}  // namespace secateur
