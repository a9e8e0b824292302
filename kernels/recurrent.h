// One direction of one recurrent layer over a whole sequence, in one call: forward, and back through time.
//
// Activations are tiled (recurrent_steps.h): a tensor of F features is F * steps.columns() numbers. States are (batch, hidden), torch's layout.
#pragma once

#include <cstdint>

#include "recurrent_primitives.h"
#include "recurrent_slices.h"
#include "recurrent_steps.h"

namespace secateur {

template <class T>
struct RecurrentForward {
    Cell cell;
    const Steps* steps;
    bool reverse;  // from the last step to the first
    const Pattern* input;              // (gates * hidden, inputs)
    const RecurrentMatrix* recurrent;
    const T *values_input, *values_recurrent, *bias_input, *bias_recurrent;  // biases (gates * hidden) or null
    const T* x;                        // tiled (inputs)
    const T *h_first, *c_first;        // null: zero
    T* gates;                          // tiled (saved_of(cell) * hidden), for the backward pass; null: nothing is saved
    T *before_h, *before_c;            // tiled (hidden): the states before each step; null where `gates` is; before_c for LSTM alone
    T* y;                              // tiled (y_features): this direction's rows begin at y_first
    std::int64_t y_features, y_first;
    T *h_last, *c_last;
    int threads;
};

template <class T>
struct RecurrentBackward {
    Cell cell;
    const Steps* steps;
    bool reverse;
    const Pattern* input;
    const RecurrentMatrix* recurrent;
    const T *values_input, *values_recurrent;
    const T *x, *gates, *before_h, *before_c;  // as the forward pass had and left them
    const T* dy;                               // tiled (y_features), or null
    std::int64_t y_features, y_first;
    const T *dh_last, *dc_last;                // null: zero
    T* dx;                                     // tiled (inputs); null where not wanted; so too all that follow
    bool add_dx;                               // dx is added to what is there
    T *dvalues_input, *dvalues_recurrent, *dbias_input, *dbias_recurrent;
    T *dh_first, *dc_first;
    int threads;
};

template <class T>
void recurrent_forward(const RecurrentForward<T>& layer);
template <class T>
void recurrent_backward(const RecurrentBackward<T>& layer);

// Between torch's layouts and tiles. `outside`: (steps, batch, features), a packed sequence (examples, features), the same with batch
// first (even steps only), or feature-major (features, steps, batch) (even steps only).
enum class Arrangement { steps_first, batch_first, feature_first };

template <class T>
struct TileEdge {
    const Steps* steps;
    Arrangement arrangement;
    std::int64_t features;
    T* outside;
    T* tiled;
    int threads;
};

template <class T>
void into_tiles(const TileEdge<T>& edge);
template <class T>
void out_of_tiles(const TileEdge<T>& edge);

}  // namespace secateur
