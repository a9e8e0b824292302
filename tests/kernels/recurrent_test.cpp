// Recurrent layers against plain loops in double precision: states step by step, gradients by differences of the loss.
#include "recurrent.h"

#include <cmath>
#include <cstdio>
#include <vector>

#include "reference.h"

using namespace secateur;

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// A layer and what goes in, as plain vectors: all that a gradient is taken of.
struct Sequence {
    Cell cell;
    std::vector<std::int64_t> counts;  // examples of each step
    bool reverse;
    std::int64_t inputs, hidden;
    Matrix ih, hh;
    std::vector<double> values_input, values_recurrent, bias_input, bias_recurrent, x, h_first, c_first;
    std::vector<double> dy, dh_last, dc_last;  // the loss is the sum of outputs and last states times these

    Sequence(Cell cell_, std::vector<std::int64_t> counts_, bool reverse_, std::int64_t inputs_, std::int64_t hidden_)
        : cell(cell_), counts(std::move(counts_)), reverse(reverse_), inputs(inputs_), hidden(hidden_),
          ih(gates_of(cell_) * hidden_, inputs_, 0.4, 30), hh(gates_of(cell_) * hidden_, hidden_, 0.3, 31) {
        std::int64_t examples = 0;
        for (const auto count : counts) examples += count;
        values_input = numbers<double>(std::int64_t(ih.column_of.size()), 32);
        values_recurrent = numbers<double>(std::int64_t(hh.column_of.size()), 33);
        bias_input = numbers<double>(ih.rows, 34);
        bias_recurrent = numbers<double>(ih.rows, 35);
        x = numbers<double>(examples * inputs, 36);
        dy = numbers<double>(examples * hidden, 37);
        h_first = numbers<double>(counts[0] * hidden, 38);
        c_first = numbers<double>(counts[0] * hidden, 39);
        dh_last = numbers<double>(counts[0] * hidden, 40);
        dc_last = numbers<double>(counts[0] * hidden, 41);
    }

    static double dot(const Matrix& matrix, const std::vector<double>& values, std::int64_t row, const double* x) {
        double sum = 0;
        for (auto k = matrix.starts[std::size_t(row)]; k < matrix.starts[std::size_t(row) + 1]; ++k) sum += values[k] * x[matrix.column_of[k]];
        return sum;
    }

    // The loss; outputs (examples, hidden) and last states are left in y, h and c.
    double loss(std::vector<double>& y, std::vector<double>& h, std::vector<double>& c) const {
        h = h_first;
        c = c_first;
        y.assign(dy.size(), 0.0);
        double total = 0;
        for (std::size_t turn = 0; turn < counts.size(); ++turn) {
            const std::size_t step = reverse ? counts.size() - 1 - turn : turn;
            std::int64_t first = 0;
            for (std::size_t s = 0; s < step; ++s) first += counts[s];
            for (std::int64_t b = 0; b < counts[step]; ++b) {
                const std::vector<double> before(h.begin() + b * hidden, h.begin() + (b + 1) * hidden);
                for (std::int64_t u = 0; u < hidden; ++u) {
                    const auto in = [&](int gate) {
                        const std::int64_t row = gate * hidden + u;
                        return bias_input[std::size_t(row)] + dot(ih, values_input, row, x.data() + (first + b) * inputs);
                    };
                    const auto re = [&](int gate) {
                        const std::int64_t row = gate * hidden + u;
                        return bias_recurrent[std::size_t(row)] + dot(hh, values_recurrent, row, before.data());
                    };
                    double& state = h[std::size_t(b * hidden + u)];
                    double& memory = c[std::size_t(b * hidden + u)];
                    if (cell == Cell::lstm) {
                        memory = sigmoid(in(1) + re(1)) * memory + sigmoid(in(0) + re(0)) * std::tanh(in(2) + re(2));
                        state = sigmoid(in(3) + re(3)) * std::tanh(memory);
                    } else if (cell == Cell::gru) {
                        const double z = sigmoid(in(1) + re(1)), n = std::tanh(in(2) + sigmoid(in(0) + re(0)) * re(2));
                        state = (1 - z) * n + z * before[std::size_t(u)];
                    } else {
                        const double sum = in(0) + re(0);
                        state = cell == Cell::tanh ? std::tanh(sum) : std::max(sum, 0.0);
                    }
                    const auto at = std::size_t((first + b) * hidden + u);
                    y[at] = state;
                    total += dy[at] * state;
                }
            }
        }
        for (std::size_t i = 0; i < h.size(); ++i) total += dh_last[i] * h[i] + (cell == Cell::lstm ? dc_last[i] * c[i] : 0.0);
        return total;
    }

    // The gradient of the loss with regard to the numbers of `of`, a member of this very object.
    std::vector<double> gradient(std::vector<double>& of) {
        constexpr double step = 1e-5;
        std::vector<double> y, h, c, found;
        for (double& number : of) {
            const double was = number;
            number = was + step;
            const double above = loss(y, h, c);
            number = was - step;
            const double below = loss(y, h, c);
            number = was;
            found.push_back((above - below) / (2 * step));
        }
        return found;
    }
};

template <class T>
struct Results {
    std::vector<T> y, h, c, dx, dvalues_input, dvalues_recurrent, dbias_input, dbias_recurrent, dh, dc;
};

// The kernels' answer, forward and back.
template <class T>
Results<T> computed(const Sequence& of, int threads) {
    const auto as = [](const std::vector<double>& from) { return std::vector<T>(from.begin(), from.end()); };
    const bool lstm = of.cell == Cell::lstm;
    const Pattern ih = of.ih.pattern(), hh = of.hh.pattern();
    const RecurrentMatrix recurrent(hh, gates_of(of.cell));
    const Steps steps(of.counts, 16 / std::int64_t(sizeof(T)));
    const auto values_input = as(of.values_input), values_recurrent = as(of.values_recurrent), bias_input = as(of.bias_input),
               bias_recurrent = as(of.bias_recurrent), h_first = as(of.h_first), c_first = as(of.c_first), dh_last = as(of.dh_last),
               dc_last = as(of.dc_last);
    const auto tiled = [&](std::int64_t features) { return std::vector<T>(std::size_t(features * steps.columns()), T(0)); };
    auto x_outside = as(of.x), dy_outside = as(of.dy);
    auto x = tiled(of.inputs), dx = tiled(of.inputs), y = tiled(of.hidden), dy = tiled(of.hidden), gates = tiled(saved_of(of.cell) * of.hidden),
         before_h = tiled(of.hidden), before_c = tiled(lstm ? of.hidden : 0);
    into_tiles<T>({&steps, Arrangement::steps_first, of.inputs, x_outside.data(), x.data(), threads});
    into_tiles<T>({&steps, Arrangement::steps_first, of.hidden, dy_outside.data(), dy.data(), threads});
    Results<T> found;
    found.y = dy_outside;
    found.dx = x_outside;
    found.h = found.dh = h_first;
    found.c = found.dc = c_first;
    recurrent_forward<T>({of.cell, &steps, of.reverse, &ih, &recurrent, values_input.data(), values_recurrent.data(), bias_input.data(),
                          bias_recurrent.data(), x.data(), h_first.data(), lstm ? c_first.data() : nullptr, gates.data(), before_h.data(),
                          lstm ? before_c.data() : nullptr, y.data(), of.hidden, 0, found.h.data(), lstm ? found.c.data() : nullptr, threads});
    found.dvalues_input = values_input;
    found.dvalues_recurrent = values_recurrent;
    found.dbias_input = found.dbias_recurrent = bias_input;
    recurrent_backward<T>({of.cell, &steps, of.reverse, &ih, &recurrent, values_input.data(), values_recurrent.data(), x.data(), gates.data(),
                           before_h.data(), lstm ? before_c.data() : nullptr, dy.data(), of.hidden, 0, dh_last.data(),
                           lstm ? dc_last.data() : nullptr, dx.data(), false, found.dvalues_input.data(), found.dvalues_recurrent.data(),
                           found.dbias_input.data(), found.dbias_recurrent.data(), found.dh.data(), lstm ? found.dc.data() : nullptr, threads});
    out_of_tiles<T>({&steps, Arrangement::steps_first, of.hidden, found.y.data(), y.data(), threads});
    out_of_tiles<T>({&steps, Arrangement::steps_first, of.inputs, found.dx.data(), dx.data(), threads});
    return found;
}

const char* name_of(Cell cell) { return cell == Cell::lstm ? "LSTM" : cell == Cell::gru ? "GRU" : cell == Cell::tanh ? "tanh" : "ReLU"; }

template <class T>
void test_states(const Sequence& sequence, int threads, const char* where) {
    const Results<T> found = computed<T>(sequence, threads);
    std::vector<double> y, h, c;
    sequence.loss(y, h, c);
    expect_close(found.y, y, "output", where);
    expect_close(found.h, h, "last state", where);
    if (sequence.cell == Cell::lstm) expect_close(found.c, c, "last memory", where);
    const Results<T> alone = computed<T>(sequence, 1);
    if (alone.y != found.y || alone.dx != found.dx || alone.dvalues_input != found.dvalues_input || alone.dvalues_recurrent != found.dvalues_recurrent)
        std::printf("%s: results depend on the threads\n", where), ++failures;
}

void test_gradients(Sequence sequence, const char* where) {
    const Results<double> exact = computed<double>(sequence, 2);
    // Differences are good to some eight digits: single precision is the sharper test of nothing here.
    const auto compare = [&](const std::vector<double>& found, const std::vector<double>& wanted, const char* what) {
        for (std::size_t i = 0; i < wanted.size(); ++i)
            if (!(std::abs(found[i] - wanted[i]) <= 1e-7 * (1 + std::abs(wanted[i])))) {
                std::printf("%s, %s: number %zu is %g, not %g\n", where, what, i, found[i], wanted[i]);
                ++failures;
                return;
            }
    };
    compare(exact.dx, sequence.gradient(sequence.x), "gradient of the input");
    compare(exact.dvalues_input, sequence.gradient(sequence.values_input), "gradient of the input's survivors");
    compare(exact.dvalues_recurrent, sequence.gradient(sequence.values_recurrent), "gradient of the recurrent survivors");
    compare(exact.dbias_input, sequence.gradient(sequence.bias_input), "gradient of the bias");
    compare(exact.dbias_recurrent, sequence.gradient(sequence.bias_recurrent), "gradient of the recurrent bias");
    compare(exact.dh, sequence.gradient(sequence.h_first), "gradient of the first state");
    if (sequence.cell == Cell::lstm) compare(exact.dc, sequence.gradient(sequence.c_first), "gradient of the first memory");
}

}  // namespace

void test_recurrent() {
    for (const Cell cell : {Cell::lstm, Cell::gru, Cell::tanh, Cell::relu})
        for (const bool reverse : {false, true}) {
            char where[80];
            std::snprintf(where, sizeof where, "%s%s", name_of(cell), reverse ? " backwards" : "");
            const Sequence small(cell, {3, 3, 2, 1}, reverse, 5, 6), wide(cell, {20, 19, 19, 4}, reverse, 30, 70);
            test_gradients(small, where);
            test_states<double>(small, 2, where);
            test_states<float>(wide, 3, where);
            test_states<double>(wide, 2, where);
        }
}
