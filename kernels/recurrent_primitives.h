// What each instruction set provides for recurrent layers: one step's product, and the gates' nonlinearities.
#pragma once

#include <cstdint>

#include "recurrent_slices.h"

namespace secateur {

enum class Cell { lstm, gru, tanh, relu };

constexpr std::int64_t gates_of(Cell cell) { return cell == Cell::lstm ? 4 : cell == Cell::gru ? 3 : 1; }
// Rows saved for the backward pass: the activated gates; a GRU's also what its reset gate multiplies.
constexpr std::int64_t saved_of(Cell cell) { return cell == Cell::lstm || cell == Cell::gru ? 4 : 1; }

template <class T>
struct StepProduct {  // sums (+)= W x for one piece: `lanes` examples side by side
    const Slice* slices;
    std::uint32_t count;
    const std::uint16_t* operands;
    const T* values;    // in the order of `operands`
    const T* x;         // of the piece's base
    std::int64_t ld_x;
    T* sums;
    std::int64_t ld_sums;
    bool add;           // to what is there
    std::int64_t lanes;  // a multiple of 16 bytes
};

// Consecutive units of one cell at one step. A unit's row of `lanes` examples follows the one before it at the distance named ld_…;
// gate g of what has gates lies g * gate_… further. Examples from `active` on keep their state and have no gradient.
template <class T>
struct CellForward {
    std::int64_t units, lanes, active;
    const T* sums;                        // W_hh h: the units' gates
    std::int64_t ld_sums, gate_sums;
    T* gates;                             // W_ih x + biases; receives the gates after their nonlinearities
    std::int64_t ld_gates, gate_gates;    // ld_gates is that of before_h, before_c and y too
    const T* bias;                        // GRU: b_hh of the new gate (units) or null
    const T* h;                           // before the step
    T* h_new;
    T* c;
    std::int64_t ld_state;
    T *before_h, *before_c;               // receive the state before the step; null: not saved
    T* y;                                 // receives h_new
};

template <class T>
struct CellBackward {
    std::int64_t units, lanes, active;
    const T* gates;
    std::int64_t ld_gates, gate_gates;
    const T *before_h, *before_c;
    const T* dy;                          // null: zero. ld_gates too
    T* dh;                                // in: dh through the later steps; out: what does not pass through W_hh
    T* dc;
    std::int64_t ld_state;
    T* d_gates;                           // in the tile, rows ld_gates apart: for W_ih; gate_gates apart
    T* d_recurrent;                       // GRU: the same for W_hh; else null
    T* d_step;                            // for W_hh, rows ld_step apart
    std::int64_t ld_step, gate_step;
};

template <class T>
struct SampledRows {  // dvalues = dy x^T at the survivors of rows [first_row, last_row)
    const std::uint32_t* row_starts;
    const std::uint16_t *low_columns, *high_columns;  // high: null where 16 bits suffice
    std::int64_t first_row, last_row;
    const T *x, *dy;                                  // rows ld apart, both aligned to 64 bytes
    std::int64_t ld_x, ld_dy, width;                  // a multiple of 64 bytes
    bool add;
    T* dvalues;
};

template <class T>
struct RecurrentPrimitives {
    void (*step_product)(const StepProduct<T>&);
    void (*cell_forward)(Cell, const CellForward<T>&);
    void (*cell_backward)(Cell, const CellBackward<T>&);
    void (*sampled_rows)(const SampledRows<T>&);
};

struct RecurrentInstructions {
    RecurrentPrimitives<float> single;
    RecurrentPrimitives<double> twofold;
};

template <class T>
const RecurrentPrimitives<T>& recurrent_primitives();  // of the instruction set in use

}  // namespace secateur
