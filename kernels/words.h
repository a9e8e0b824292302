// A sparse convolution over words that lie one after another in memory, whose gradient is mostly zero: what a maximum over time leaves.
#pragma once

#include <cstdint>

#include "pattern.h"

namespace secateur {

// (batch, length, channels) words, contiguous; a window of `taps` words begins at each of the first positions() of a text.
struct WordsShape {
    std::int64_t batch, length, channels, taps;

    std::int64_t words() const { return batch * length; }
    std::int64_t positions() const { return length - taps + 1; }
    // A response to every word, those at a text's end void; a whole number of tiles.
    std::int64_t ld() const { return (words() + 63) / 64 * 64; }
};

template <class T>
struct WordsForward {
    const Pattern* pattern;  // (filters, channels * taps)
    WordsShape shape;
    const T* values;
    const T* bias;  // or null
    const T* x;     // (batch, length, channels)
    T* y;           // (filters, shape.ld()); null where only the maxima are wanted
    T* maximum;     // (batch, filters): of each text's responses; null where not wanted
    std::int32_t* place;  // (batch, filters): the first position of the maximum, with it
    int threads;
};

template <class T>
struct WordsBackward {
    const Pattern* pattern;
    WordsShape shape;
    const T* values;
    const T* x;
    const T* dy;  // (batch, filters, positions); with `place` (batch, filters): the gradients of the maxima that stand there
    const std::int32_t* place;
    T* dx;        // (batch, length, channels); null where not wanted; so too the next two
    T* dvalues;
    T* dbias;
    std::int64_t most;  // nonzeros of dy worth visiting one by one
    int threads;
};

template <class T>
void words_forward(const WordsForward<T>& layer);

// False, with nothing written, where dy has more than `most` nonzeros; never so with `place`.
template <class T>
bool words_backward(const WordsBackward<T>& layer);

}  // namespace secateur
