// The nonlinearities of recurrent cells at one step, forward and backward, for units whose products are done.
//
// Formulas are torch's (nn.LSTM, nn.GRU, nn.RNN). Each function below treats W examples of one unit; `for_lanes` walks over all.
#pragma once

#include "activations.h"
#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

// The lanes from `active` on take `other`.
template <class T, int W, int... I>
SECATEUR_INLINE Vec<T, W> where_active(std::int64_t active, Vec<T, W> value, Vec<T, W> other, Lanes<I...>) {
    using Bits = typename Float<T>::Bits;
    const Vec<Bits, W> lane = {Bits(I)...};
    return lane < (Vec<Bits, W>{} + Bits(active)) ? value : other;
}
template <class T, int W>
SECATEUR_INLINE Vec<T, W> where_active(std::int64_t active, Vec<T, W> value, Vec<T, W> other) {
    return active >= W ? value : where_active<T, W>(active < 0 ? 0 : active, value, other, typename MakeLanes<W>::type{});
}

// A unit's rows.
template <class T>
struct ForwardRows {
    const T *sums, *h;
    T *gates, *h_new, *c, *before_h, *before_c, *y;
    T bias;
};

template <class T, int W>
SECATEUR_INLINE void save_state(const ForwardRows<T>& row, std::int64_t l, Vec<T, W> h) {
    if (row.before_h) store<W>(row.before_h + l, h);
}

template <class T, int W>
SECATEUR_INLINE void lstm_forward(const CellForward<T>& cell, const ForwardRows<T>& row, std::int64_t l) {
    const auto before = [&](int gate) { return load<W>(row.gates + gate * cell.gate_gates + l) + load<W>(row.sums + gate * cell.gate_sums + l); };
    const Vec<T, W> in = logistic<T, W>(before(0)), forget = logistic<T, W>(before(1)), fresh = hyperbolic_tangent<T, W>(before(2)),
                    out = logistic<T, W>(before(3));
    const Vec<T, W> h = load<W>(row.h + l), c = load<W>(row.c + l);
    save_state<T, W>(row, l, h);
    if (row.before_c) {
        store<W>(row.before_c + l, c);
        store<W>(row.gates + l, in);
        store<W>(row.gates + cell.gate_gates + l, forget);
        store<W>(row.gates + 2 * cell.gate_gates + l, fresh);
        store<W>(row.gates + 3 * cell.gate_gates + l, out);
    }
    const Vec<T, W> c_new = forget * c + in * fresh;
    const Vec<T, W> h_new = where_active<T, W>(cell.active - l, out * hyperbolic_tangent<T, W>(c_new), h);
    store<W>(row.c + l, where_active<T, W>(cell.active - l, c_new, c));
    store<W>(row.h_new + l, h_new);
    store<W>(row.y + l, h_new);
}

template <class T, int W>
SECATEUR_INLINE void gru_forward(const CellForward<T>& cell, const ForwardRows<T>& row, std::int64_t l) {
    const auto before = [&](int gate) { return load<W>(row.gates + gate * cell.gate_gates + l) + load<W>(row.sums + gate * cell.gate_sums + l); };
    const Vec<T, W> reset = logistic<T, W>(before(0)), update = logistic<T, W>(before(1));
    const Vec<T, W> recurrent = load<W>(row.sums + 2 * cell.gate_sums + l) + broadcast<W>(row.bias);
    const Vec<T, W> fresh = hyperbolic_tangent<T, W>(load<W>(row.gates + 2 * cell.gate_gates + l) + reset * recurrent);
    const Vec<T, W> h = load<W>(row.h + l);
    save_state<T, W>(row, l, h);
    if (row.before_h) {
        store<W>(row.gates + l, reset);
        store<W>(row.gates + cell.gate_gates + l, update);
        store<W>(row.gates + 2 * cell.gate_gates + l, fresh);
        store<W>(row.gates + 3 * cell.gate_gates + l, recurrent);
    }
    const Vec<T, W> h_new = where_active<T, W>(cell.active - l, fresh + update * (h - fresh), h);
    store<W>(row.h_new + l, h_new);
    store<W>(row.y + l, h_new);
}

template <class T, int W, bool Relu>
SECATEUR_INLINE void plain_forward(const CellForward<T>& cell, const ForwardRows<T>& row, std::int64_t l) {
    const Vec<T, W> sum = load<W>(row.gates + l) + load<W>(row.sums + l);
    Vec<T, W> value;
    if constexpr (Relu)
        value = sum < Vec<T, W>{} ? Vec<T, W>{} : sum;
    else
        value = hyperbolic_tangent<T, W>(sum);
    const Vec<T, W> h = load<W>(row.h + l);
    save_state<T, W>(row, l, h);
    store<W>(row.gates + l, value);
    const Vec<T, W> h_new = where_active<T, W>(cell.active - l, value, h);
    store<W>(row.h_new + l, h_new);
    store<W>(row.y + l, h_new);
}

template <class T>
struct BackwardRows {
    const T *gates, *before_h, *before_c, *dy;
    T *dh, *dc, *d_gates, *d_recurrent, *d_step;
};

template <class T, int W>
SECATEUR_INLINE Vec<T, W> whole_dh(const BackwardRows<T>& row, std::int64_t l) {
    const Vec<T, W> dh = load<W>(row.dh + l);
    return row.dy ? dh + load<W>(row.dy + l) : dh;
}

// d / d (sum of `gate`), for both matrices.
template <class T, int W>
SECATEUR_INLINE void store_gate(const CellBackward<T>& cell, const BackwardRows<T>& row, std::int64_t l, int gate, Vec<T, W> d) {
    d = where_active<T, W>(cell.active - l, d, Vec<T, W>{});
    store<W>(row.d_gates + gate * cell.gate_gates + l, d);
    store<W>(row.d_step + gate * cell.gate_step + l, d);
    if (row.d_recurrent) store<W>(row.d_recurrent + gate * cell.gate_gates + l, d);
}

template <class T, int W>
SECATEUR_INLINE void lstm_backward(const CellBackward<T>& cell, const BackwardRows<T>& row, std::int64_t l) {
    const Vec<T, W> one = broadcast<W>(T(1));
    const auto gate = [&](int g) { return load<W>(row.gates + g * cell.gate_gates + l); };
    const Vec<T, W> in = gate(0), forget = gate(1), fresh = gate(2), out = gate(3), c_before = load<W>(row.before_c + l);
    const Vec<T, W> d = whole_dh<T, W>(row, l), dc_after = load<W>(row.dc + l);
    const Vec<T, W> squashed = hyperbolic_tangent<T, W>(forget * c_before + in * fresh);
    const Vec<T, W> dc = dc_after + d * out * (one - squashed * squashed);
    store_gate<T, W>(cell, row, l, 0, dc * fresh * in * (one - in));
    store_gate<T, W>(cell, row, l, 1, dc * c_before * forget * (one - forget));
    store_gate<T, W>(cell, row, l, 2, dc * in * (one - fresh * fresh));
    store_gate<T, W>(cell, row, l, 3, d * squashed * out * (one - out));
    store<W>(row.dc + l, where_active<T, W>(cell.active - l, dc * forget, dc_after));
    store<W>(row.dh + l, where_active<T, W>(cell.active - l, Vec<T, W>{}, load<W>(row.dh + l)));
}

template <class T, int W>
SECATEUR_INLINE void gru_backward(const CellBackward<T>& cell, const BackwardRows<T>& row, std::int64_t l) {
    const Vec<T, W> one = broadcast<W>(T(1));
    const auto gate = [&](int g) { return load<W>(row.gates + g * cell.gate_gates + l); };
    const Vec<T, W> reset = gate(0), update = gate(1), fresh = gate(2), recurrent = gate(3), h = load<W>(row.before_h + l);
    const Vec<T, W> d = whole_dh<T, W>(row, l);
    const Vec<T, W> d_fresh = where_active<T, W>(cell.active - l, d * (one - update) * (one - fresh * fresh), Vec<T, W>{});
    store_gate<T, W>(cell, row, l, 0, d_fresh * recurrent * reset * (one - reset));
    store_gate<T, W>(cell, row, l, 1, d * (h - fresh) * update * (one - update));
    store<W>(row.d_gates + 2 * cell.gate_gates + l, d_fresh);
    store<W>(row.d_step + 2 * cell.gate_step + l, d_fresh * reset);
    store<W>(row.d_recurrent + 2 * cell.gate_gates + l, d_fresh * reset);
    store<W>(row.dh + l, where_active<T, W>(cell.active - l, d * update, load<W>(row.dh + l)));
}

template <class T, int W, bool Relu>
SECATEUR_INLINE void plain_backward(const CellBackward<T>& cell, const BackwardRows<T>& row, std::int64_t l) {
    const Vec<T, W> h = load<W>(row.gates + l), d = whole_dh<T, W>(row, l);
    if constexpr (Relu)
        store_gate<T, W>(cell, row, l, 0, h > Vec<T, W>{} ? d : Vec<T, W>{});
    else
        store_gate<T, W>(cell, row, l, 0, d * (broadcast<W>(T(1)) - h * h));
    store<W>(row.dh + l, where_active<T, W>(cell.active - l, Vec<T, W>{}, load<W>(row.dh + l)));
}

// Calls one.run<W>(l) for lanes [0, lanes), W as wide as they allow; `lanes` is a multiple of 16 bytes.
template <class T, class One>
SECATEUR_INLINE void for_lanes(std::int64_t lanes, const One& one) {
    constexpr int W = widest<T>, quarter = 16 / int(sizeof(T));
    std::int64_t l = 0;
    for (; l + W <= lanes; l += W) one.template run<W>(l);
    if constexpr (W > 2 * quarter)
        if (l + 2 * quarter <= lanes) one.template run<2 * quarter>(l), l += 2 * quarter;
    if constexpr (W > quarter)
        if (l < lanes) one.template run<quarter>(l);
}

template <class T, Cell K>
struct ForwardOf {
    const CellForward<T>& cell;
    const ForwardRows<T>& row;
    template <int W>
    SECATEUR_INLINE void run(std::int64_t l) const {
        if constexpr (K == Cell::lstm)
            lstm_forward<T, W>(cell, row, l);
        else if constexpr (K == Cell::gru)
            gru_forward<T, W>(cell, row, l);
        else
            plain_forward<T, W, K == Cell::relu>(cell, row, l);
    }
};

template <class T, Cell K>
struct BackwardOf {
    const CellBackward<T>& cell;
    const BackwardRows<T>& row;
    template <int W>
    SECATEUR_INLINE void run(std::int64_t l) const {
        if constexpr (K == Cell::lstm)
            lstm_backward<T, W>(cell, row, l);
        else if constexpr (K == Cell::gru)
            gru_backward<T, W>(cell, row, l);
        else
            plain_backward<T, W, K == Cell::relu>(cell, row, l);
    }
};

template <class P>
SECATEUR_INLINE P moved(P pointer, std::int64_t by) {
    return pointer ? pointer + by : nullptr;
}

template <class T, Cell K>
void units_forward(const CellForward<T>& cell) {
    for (std::int64_t unit = 0; unit < cell.units; ++unit) {
        const std::int64_t in_tile = unit * cell.ld_gates, state = unit * cell.ld_state;
        const ForwardRows<T> row{cell.sums + unit * cell.ld_sums, cell.h + state, cell.gates + in_tile, cell.h_new + state, moved(cell.c, state),
                                 moved(cell.before_h, in_tile), moved(cell.before_c, in_tile), cell.y + in_tile, cell.bias ? cell.bias[unit] : T(0)};
        for_lanes<T>(cell.lanes, ForwardOf<T, K>{cell, row});
    }
}

template <class T, Cell K>
void units_backward(const CellBackward<T>& cell) {
    for (std::int64_t unit = 0; unit < cell.units; ++unit) {
        const std::int64_t in_tile = unit * cell.ld_gates, state = unit * cell.ld_state;
        const BackwardRows<T> row{cell.gates + in_tile, moved(cell.before_h, in_tile), moved(cell.before_c, in_tile), moved(cell.dy, in_tile),
                                  cell.dh + state, moved(cell.dc, state), cell.d_gates + in_tile, moved(cell.d_recurrent, in_tile),
                                  cell.d_step + unit * cell.ld_step};
        for_lanes<T>(cell.lanes, BackwardOf<T, K>{cell, row});
    }
}

template <class T>
void cell_forward(Cell kind, const CellForward<T>& cell) {
    switch (kind) {
        case Cell::lstm: return units_forward<T, Cell::lstm>(cell);
        case Cell::gru: return units_forward<T, Cell::gru>(cell);
        case Cell::tanh: return units_forward<T, Cell::tanh>(cell);
        case Cell::relu: return units_forward<T, Cell::relu>(cell);
    }
}

template <class T>
void cell_backward(Cell kind, const CellBackward<T>& cell) {
    switch (kind) {
        case Cell::lstm: return units_backward<T, Cell::lstm>(cell);
        case Cell::gru: return units_backward<T, Cell::gru>(cell);
        case Cell::tanh: return units_backward<T, Cell::tanh>(cell);
        case Cell::relu: return units_backward<T, Cell::relu>(cell);
    }
}

}  // namespace secateur::SECATEUR_ISA
