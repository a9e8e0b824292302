// A test of the kernels without Python, for the sanitizers and for other processors: every layer against a plain loop in double
// precision, over shapes with remainders, all tile sizes, several threads, and several callers at once.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <deque>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "bytes.h"
#include "chain.h"
#include "conv.h"
#include "embedding.h"
#include "linear.h"
#include "parallel.h"
#include "popup.h"
#include "primitives.h"
#include "reference.h"
#include "selection.h"
#include "words.h"

using namespace secateur;

void test_recurrent();  // recurrent_test.cpp

namespace {

template <class T>
void test_linear(std::int64_t rows, std::int64_t columns, double density, std::int64_t batch, bool feature_major, bool relu, int threads) {
    char where[160];
    std::snprintf(where, sizeof where, "linear %ldx%ld density %g batch %ld feature-major %d relu %d threads %d", long(rows), long(columns), density,
                  long(batch), feature_major, relu, threads);
    const Matrix matrix(rows, columns, density, 1);
    const Pattern pattern = matrix.pattern();
    const auto values = numbers<T>(pattern.survivors(), 2), bias = numbers<T>(rows, 3), x = numbers<T>(batch * columns, 4),
               dy = numbers<T>(batch * rows, 5);
    const auto in = [&](std::int64_t c, std::int64_t b) { return std::size_t(feature_major ? c * batch + b : b * columns + c); };
    const auto out = [&](std::int64_t r, std::int64_t b) { return std::size_t(feature_major ? r * batch + b : b * rows + r); };

    std::vector<T> y(std::size_t(batch * rows), T(NAN));
    linear_forward<T>({&pattern, values.data(), bias.data(), x.data(), feature_major, batch, relu, y.data(), threads});
    std::vector<double> wanted(y.size());
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t b = 0; b < batch; ++b) {
            double sum = double(bias[std::size_t(r)]);
            for (auto k = matrix.starts[std::size_t(r)]; k < matrix.starts[std::size_t(r) + 1]; ++k)
                sum += double(values[k]) * double(x[in(matrix.column_of[k], b)]);
            wanted[out(r, b)] = relu ? std::max(sum, 0.0) : sum;
        }
    expect_close(y, wanted, "output", where);
    std::vector<T> dx(x.size(), T(NAN)), dvalues(values.size(), T(NAN)), dbias(bias.size(), T(NAN));
    linear_backward<T>({&pattern, values.data(), x.data(), dy.data(), relu ? y.data() : nullptr, feature_major, batch,
                        dx.data(), dvalues.data(), dbias.data(), threads});
    std::vector<double> wanted_x(dx.size(), 0.0), wanted_values(dvalues.size(), 0.0), wanted_bias(dbias.size(), 0.0);
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t b = 0; b < batch; ++b) {
            const double d = !relu || y[out(r, b)] > T(0) ? double(dy[out(r, b)]) : 0.0;
            wanted_bias[std::size_t(r)] += d;
            for (auto k = matrix.starts[std::size_t(r)]; k < matrix.starts[std::size_t(r) + 1]; ++k) {
                wanted_x[in(matrix.column_of[k], b)] += double(values[k]) * d;
                wanted_values[k] += d * double(x[in(matrix.column_of[k], b)]);
            }
        }
    expect_close(dx, wanted_x, "gradient of the input", where);
    expect_close(dvalues, wanted_values, "gradient of the survivors", where);
    expect_close(dbias, wanted_bias, "gradient of the bias", where);
    std::vector<T> only(values.size(), T(NAN));
    linear_backward<T>({&pattern, values.data(), x.data(), dy.data(), relu ? y.data() : nullptr, feature_major, batch,
                        nullptr, only.data(), nullptr, 1});
    if (only != dvalues) std::printf("%s: the gradient depends on the threads or on what else is asked\n", where), ++failures;
}

// Layers of these widths, the first of them the inputs; every other one ends in a ReLU, the first has no bias.
template <class T>
void test_chain(const std::vector<std::int64_t>& widths, double density, std::int64_t batch) {
    std::vector<Matrix> matrices;
    for (std::size_t i = 1; i < widths.size(); ++i) matrices.emplace_back(widths[i], widths[i - 1], density, unsigned(20 + i));
    std::deque<Pattern> patterns;
    std::vector<std::vector<T>> values, biases;
    for (std::size_t i = 0; i < matrices.size(); ++i) {
        patterns.emplace_back(matrices[i].rows, matrices[i].columns, matrices[i].starts, matrices[i].column_of.data());
        values.push_back(numbers<T>(patterns[i].survivors(), unsigned(30 + i)));
        biases.push_back(numbers<T>(widths[i + 1], unsigned(40 + i)));
    }
    std::vector<ChainLayer<T>> layers;
    for (std::size_t i = 0; i < patterns.size(); ++i) layers.push_back({&patterns[i], values[i].data(), i ? biases[i].data() : nullptr, i % 2 == 0});
    const auto x = numbers<T>(batch * widths.front(), 50);
    std::vector<double> activations(x.begin(), x.end());
    for (std::size_t i = 0; i < layers.size(); ++i) {
        std::vector<double> next(std::size_t(batch * widths[i + 1]));
        for (std::int64_t b = 0; b < batch; ++b)
            for (std::int64_t r = 0; r < widths[i + 1]; ++r) {
                double sum = layers[i].bias ? double(biases[i][std::size_t(r)]) : 0.0;
                for (auto k = matrices[i].starts[std::size_t(r)]; k < matrices[i].starts[std::size_t(r) + 1]; ++k)
                    sum += double(values[i][k]) * activations[std::size_t(b * widths[i] + matrices[i].column_of[k])];
                next[std::size_t(b * widths[i + 1] + r)] = layers[i].relu ? std::max(sum, 0.0) : sum;
            }
        activations = next;
    }
    std::vector<T> first;
    for (const int threads : {1, 2, 3}) {
        char where[120];
        std::snprintf(where, sizeof where, "chain of %d layers density %g batch %ld threads %d", int(layers.size()), density, long(batch), threads);
        std::vector<T> y(std::size_t(batch * widths.back()), T(NAN));
        chain_forward<T>(layers, x.data(), batch, y.data(), threads);
        expect_close(y, activations, "output", where);
        if (threads == 1) first = y;
        if (y != first) std::printf("%s: the output depends on the threads\n", where), ++failures;
    }
}

template <class T>
void test_conv(const ConvShape& shape, std::int64_t outputs, double density, bool relu, int threads) {
    char where[160];
    std::snprintf(where, sizeof where, "conv batch %ld channels %ld length %ld taps %ld stride %ld padding %ld dilation %ld threads %d",
                  long(shape.batch), long(shape.channels), long(shape.length), long(shape.taps), long(shape.stride), long(shape.padding),
                  long(shape.dilation), threads);
    const Matrix matrix(outputs, shape.channels * shape.taps, density, 6);
    const Pattern pattern = matrix.pattern();
    const std::int64_t positions = shape.positions();
    const auto values = numbers<T>(pattern.survivors(), 7), bias = numbers<T>(outputs, 8),
               x = numbers<T>(shape.batch * shape.channels * shape.length, 9), dy = numbers<T>(shape.batch * outputs * positions, 10);
    std::vector<T> y(dy.size(), T(NAN)), packed(std::size_t(conv_packed_size<T>(shape)));
    conv_forward<T>({&pattern, shape, values.data(), bias.data(), x.data(), relu, packed.data(), y.data(), threads});
    std::vector<double> wanted(y.size()), wanted_x(x.size(), 0.0), wanted_values(values.size(), 0.0), wanted_bias(bias.size(), 0.0);
    for (std::int64_t n = 0; n < shape.batch; ++n)
        for (std::int64_t o = 0; o < outputs; ++o)
            for (std::int64_t p = 0; p < positions; ++p) {
                const auto at = std::size_t((n * outputs + o) * positions + p);
                double sum = double(bias[std::size_t(o)]);
                const double d = !relu || y[at] > T(0) ? double(dy[at]) : 0.0;
                wanted_bias[std::size_t(o)] += d;
                for (auto k = matrix.starts[std::size_t(o)]; k < matrix.starts[std::size_t(o) + 1]; ++k) {
                    const std::int64_t channel = matrix.column_of[k] / shape.taps, tap = matrix.column_of[k] % shape.taps;
                    const std::int64_t i = p * shape.stride + tap * shape.dilation - shape.padding;
                    if (i < 0 || i >= shape.length) continue;
                    const auto from = std::size_t((n * shape.channels + channel) * shape.length + i);
                    sum += double(values[k]) * double(x[from]);
                    wanted_x[from] += double(values[k]) * d;
                    wanted_values[k] += double(x[from]) * d;
                }
                wanted[at] = relu ? std::max(sum, 0.0) : sum;
            }
    expect_close(y, wanted, "output", where);
    std::vector<T> dx(x.size(), T(NAN)), dvalues(values.size(), T(NAN)), dbias(bias.size(), T(NAN));
    conv_backward<T>({&pattern, shape, values.data(), packed.data(), dy.data(), relu ? y.data() : nullptr, dx.data(), dvalues.data(), dbias.data(),
                      threads});
    expect_close(dx, wanted_x, "gradient of the input", where);
    expect_close(dvalues, wanted_values, "gradient of the survivors", where);
    expect_close(dbias, wanted_bias, "gradient of the bias", where);
}

// Both backward passes: of gradients that are mostly zero, and of maxima.
template <class T>
void test_words(const WordsShape& shape, std::int64_t filters, double density, int threads) {
    char where[160];
    std::snprintf(where, sizeof where, "words batch %ld length %ld channels %ld taps %ld density %g threads %d", long(shape.batch), long(shape.length),
                  long(shape.channels), long(shape.taps), density, threads);
    const Matrix matrix(filters, shape.channels * shape.taps, density, 20);
    const Pattern pattern = matrix.pattern();
    const std::int64_t positions = shape.positions();
    const auto values = numbers<T>(pattern.survivors(), 21), bias = numbers<T>(filters, 22), x = numbers<T>(shape.words() * shape.channels, 23),
               dmaximum = numbers<T>(shape.batch * filters, 24);
    std::vector<T> y(std::size_t(filters * shape.ld()), T(NAN)), maximum(dmaximum.size(), T(NAN));
    std::vector<std::int32_t> place(maximum.size(), -1);
    words_forward<T>({&pattern, shape, values.data(), bias.data(), x.data(), y.data(), maximum.data(), place.data(), threads});
    std::vector<T> responses, dy(std::size_t(shape.batch * filters * positions), T(0));
    std::vector<double> wanted, wanted_maximum(maximum.size(), -INFINITY), wanted_x(x.size(), 0.0), wanted_values(values.size(), 0.0),
        wanted_bias(bias.size(), 0.0);
    for (std::int64_t n = 0; n < shape.batch; ++n)
        for (std::int64_t f = 0; f < filters; ++f) {
            const auto one = std::size_t(n * filters + f);
            for (std::int64_t p = 0; p < positions; ++p) {
                double sum = double(bias[std::size_t(f)]);
                const double d = p == place[one] ? double(dmaximum[one]) : 0.0;
                dy[one * std::size_t(positions) + std::size_t(p)] = T(d);
                wanted_bias[std::size_t(f)] += d;
                for (auto k = matrix.starts[std::size_t(f)]; k < matrix.starts[std::size_t(f) + 1]; ++k) {
                    const std::int64_t channel = matrix.column_of[k] / shape.taps, tap = matrix.column_of[k] % shape.taps;
                    const auto from = std::size_t((n * shape.length + p + tap) * shape.channels + channel);
                    sum += double(values[k]) * double(x[from]);
                    wanted_x[from] += double(values[k]) * d;
                    wanted_values[k] += double(x[from]) * d;
                }
                wanted.push_back(sum);
                wanted_maximum[one] = std::max(wanted_maximum[one], sum);
                responses.push_back(y[std::size_t(f * shape.ld() + n * shape.length + p)]);
            }
        }
    expect_close(responses, wanted, "output", where);
    expect_close(maximum, wanted_maximum, "maximum", where);
    std::vector<T> dx(x.size(), T(NAN)), dvalues(values.size(), T(NAN)), dbias(bias.size(), T(NAN));
    for (const bool of_maxima : {false, true}) {
        const T* upstream = of_maxima ? dmaximum.data() : dy.data();
        WordsBackward<T> layer{&pattern, shape, values.data(), x.data(), upstream, of_maxima ? place.data() : nullptr, dx.data(), dvalues.data(),
                               dbias.data(), shape.batch * filters, threads};
        if (!words_backward(layer)) std::printf("%s: gradients were left alone\n", where), ++failures;
        expect_close(dx, wanted_x, "gradient of the input", where);
        expect_close(dvalues, wanted_values, "gradient of the survivors", where);
        expect_close(dbias, wanted_bias, "gradient of the bias", where);
        layer.most = 0;
        if (words_backward(layer)) std::printf("%s: too many gradients were taken\n", where), ++failures;
    }
}

void test_embedding(int threads) {
    const Matrix matrix(50, 33, 0.3, 11);
    const Pattern pattern = matrix.pattern();
    const auto values = numbers<float>(pattern.survivors(), 12);
    std::vector<std::int64_t> ids;
    for (int i = 0; i < 30'000; ++i) ids.push_back(i * 7 % 41);
    const auto count = std::int64_t(ids.size());
    const auto dy = numbers<float>(count * 33, 13);
    std::vector<float> y(dy.size(), NAN), dvalues(values.size(), NAN);
    embedding_forward(pattern, values.data(), ids.data(), count, y.data(), threads);
    embedding_backward(pattern, ids.data(), count, dy.data(), dvalues.data(), threads);
    std::vector<double> wanted(y.size(), 0.0), wanted_values(values.size(), 0.0);
    for (std::size_t i = 0; i < ids.size(); ++i)
        for (auto k = matrix.starts[std::size_t(ids[i])]; k < matrix.starts[std::size_t(ids[i]) + 1]; ++k) {
            wanted[i * 33 + std::size_t(matrix.column_of[k])] = double(values[k]);
            wanted_values[k] += double(dy[i * 33 + std::size_t(matrix.column_of[k])]);
        }
    expect_close(y, wanted, "output", "embedding");
    expect_close(dvalues, wanted_values, "gradient of the survivors", "embedding");
}

void test_bytes(int threads) {
    const std::int64_t channels = 3, run = 77, table_rows = 40;
    std::vector<std::uint8_t> table(std::size_t(table_rows * channels * run));
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = std::uint8_t(i * 97 % 251);
    std::vector<std::int64_t> rows;
    for (int i = 0; i < 2'000; ++i) rows.push_back(i * 11 % table_rows);
    const auto factor = numbers<float>(channels, 17), shift = numbers<float>(channels, 18);
    std::vector<float> out(rows.size() * std::size_t(channels * run), NAN);
    gather_scaled({table.data(), rows.data(), std::int64_t(rows.size()), channels, run, factor.data(), shift.data(), out.data(), threads});
    std::vector<double> wanted(out.size());
    for (std::size_t i = 0; i < out.size(); ++i) {
        const std::size_t width = std::size_t(channels * run), channel = i % width / std::size_t(run);
        wanted[i] = double(table[std::size_t(rows[i / width]) * width + i % width]) * double(factor[channel]) + double(shift[channel]);
    }
    expect_close(out, wanted, "numbers", "bytes");
}

template <class T>
void test_selection(std::int64_t size, bool ties) {
    std::vector<T> scores = numbers<T>(size, 19);
    if (ties)
        for (T& score : scores) score = T(int(score * 3));
    std::vector<std::uint8_t> candidates(std::size_t(size + 7) / 8), chosen(candidates.size()), drawn(candidates.size());
    std::vector<std::int64_t> ranked;
    const auto is_set = [](const std::vector<std::uint8_t>& bits, std::int64_t i) { return bool(bits[std::size_t(i >> 3)] >> (7 - (i & 7)) & 1); };
    for (std::int64_t i = 0; i < size; ++i)
        if (i * 7 % 11 < 5) candidates[std::size_t(i >> 3)] |= std::uint8_t(128 >> (i & 7)), ranked.push_back(i);
    std::stable_sort(ranked.begin(), ranked.end(), [&](std::int64_t a, std::int64_t b) { return scores[std::size_t(a)] > scores[std::size_t(b)]; });
    const auto count = std::int64_t(ranked.size()) / 3;
    // Two stretches that meet within a byte compete as one.
    const std::int64_t middle = std::min(size, size / 2 + 3);
    const std::vector<Stretch<T>> both{{scores.data(), candidates.data(), chosen.data(), 0, middle}, {scores.data(), candidates.data(), chosen.data(), middle, size}};
    if (choose_highest<T>(both, count, false) != -1) std::printf("selection: finite scores are said to be none\n"), ++failures;
    std::vector<bool> wanted(std::size_t(size), false);
    for (std::int64_t i = 0; i < count; ++i) wanted[std::size_t(ranked[std::size_t(i)])] = true;
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < size; ++i) wrong += is_set(chosen, i) != wanted[std::size_t(i)];
    if (wrong) std::printf("selection of %lld: %lld places are wrong\n", static_cast<long long>(size), static_cast<long long>(wrong)), ++failures;
    for (const std::int64_t some : {count, 2 * count}) {
        std::fill(drawn.begin(), drawn.end(), std::uint8_t(0));
        choose_at_random(candidates.data(), drawn.data(), size, some, 3);
        std::int64_t outside = 0;
        for (std::size_t i = 0; i < drawn.size(); ++i) outside += drawn[i] & ~candidates[i];
        if (outside || count_set(drawn.data(), 0, size) != some) std::printf("a random choice is not exact\n"), ++failures;
    }
    std::vector<T> filled = scores;
    fill_where(candidates.data(), chosen.data(), size, filled.data(), T(99));
    for (std::int64_t i = 0; i < size; ++i)
        if ((filled[std::size_t(i)] == T(99)) != (is_set(candidates, i) && !is_set(chosen, i))) std::printf("a place is filled wrongly\n"), ++failures;
}

// What scores compute beside the passes of the network, of a layer, in two shares.
template <class T>
void test_scoring(std::int64_t rows, std::int64_t columns) {
    char where[80];
    std::snprintf(where, sizeof where, "scoring %ldx%ld", long(rows), long(columns));
    const std::int64_t size = rows * columns, half = size / 2 / 64 * 64, middle = columns / 2;
    const auto weights = numbers<T>(size, 30), gradients = numbers<T>(size, 31), before = numbers<T>(size, 32), norms = numbers<T>(columns, 33);
    const auto both = [](std::int64_t between, std::int64_t end, auto&& call) { call(0, between), call(between, end); };
    const auto wanted = [&](auto&& formula) {
        std::vector<double> values;
        for (std::int64_t i = 0; i < size; ++i) {
            const auto at = std::size_t(i);
            values.push_back(formula(double(before[at]), double(gradients[at]), double(weights[at])));
        }
        return values;
    };
    const Primitives<T>& kernels = primitives<T>();
    for (const bool first : {false, true}) {
        std::vector<T> totals = before;
        both(half, size, [&](auto begin, auto end) { kernels.add_changes(weights.data(), gradients.data(), totals.data(), first, begin, end); });
        expect_close(totals, wanted([&](double t, double g, double w) { return (first ? 0 : t) + std::abs(w * g); }), "changes", where);
        for (const bool adds : {false, true})
            for (const bool weighs : {false, true}) {
                totals = before;
                const Squares<T> squares{totals.data(), adds ? gradients.data() : nullptr, weighs ? weights.data() : nullptr, T(6), first};
                both(half, size, [&](auto begin, auto end) { kernels.squares(squares, begin, end); });
                const auto formula = [&](double t, double g, double w) { return ((first ? t * t : t) + adds * g * g) * (weighs ? w * w / 6 : 1); };
                expect_close(totals, wanted(formula), "squares", where);
            }
        for (const bool last : {false, true}) {
            std::vector<T> scores = before, buffers(scores.size(), first ? T(NAN) : T(0.5)), used(scores.size(), T(NAN));
            Popup<T> popup{weights.data(), scores.data(), used.data(), nullptr, size, size / 3};
            const Bracket<T> bracket = popup_choose<T>(popup, {T(2), T(3), 0}, 2);
            const auto expect_used = [&] {
                std::vector<std::pair<double, std::int64_t>> ranked;
                for (std::int64_t i = 0; i < size; ++i) ranked.emplace_back(-std::abs(double(scores[std::size_t(i)])), i);
                std::sort(ranked.begin(), ranked.end());
                std::vector<double> highest(scores.size(), 0);
                for (std::int64_t i = 0; i < size / 3; ++i) highest[std::size_t(ranked[std::size_t(i)].second)] = double(weights[std::size_t(ranked[std::size_t(i)].second)]);
                expect_close(used, highest, "used", where);
            };
            expect_used();
            if (last) popup.used = nullptr;
            popup_step<T>(popup, {gradients.data(), buffers.data(), T(0.1), T(0.9), T(0.01), first}, bracket, 2);
            const auto gathered = [&](double s, double g, double w) { return (first ? 0 : 0.45) + g * w * ((s > 0) - (s < 0)) + 0.01 * s; };
            const auto stepped = [&](double s, double g, double w) { return s - 0.1 * gathered(s, g, w); };
            if (last) {
                expect_close(scores, wanted([&](double s, double g, double w) { return std::abs(stepped(s, g, w)); }), "magnitudes", where);
            } else {
                expect_close(buffers, wanted(gathered), "buffers", where);
                expect_close(scores, wanted(stepped), "popup scores", where);
                expect_used();
            }
        }
    }
    std::vector<T> weighed(weights.size(), T(NAN));
    both(rows / 2, rows, [&](auto begin, auto end) { kernels.weigh(weights.data(), norms.data(), columns, weighed.data(), begin, end); });
    const auto at = [&](std::int64_t r, std::int64_t c) { return std::size_t(r * columns + c); };
    const auto x = numbers<double>(columns, 34), dy = numbers<double>(rows, 35);
    std::vector<double> products(weights.size()), sums(std::size_t(columns), 1.0), y(std::size_t(rows), 0.0), dx(sums.size(), 0.0), scores(weights.size());
    std::vector<double> found_sums = sums, found_y(y.size(), NAN), found_dx(dx.size(), NAN), found(scores.size(), NAN);
    double all = 0;
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t c = 0; c < columns; ++c) {
            const auto row = std::size_t(r), column = std::size_t(c);
            const double weight = std::abs(double(weights[at(r, c)]));
            products[at(r, c)] = weight * std::abs(double(norms[column]));
            sums[column] += weight * weight;
            y[row] += weight * x[column];
            dx[column] += weight * dy[row];
            all += scores[at(r, c)] = weight * dy[row] * x[column];
        }
    expect_close(weighed, products, "weighed", where);
    both(middle, columns, [&](auto begin, auto end) { kernels.add_squares(weights.data(), rows, columns, found_sums.data(), begin, end); });
    expect_close(found_sums, sums, "sums of squares", where);
    const Flow<T> flow{weights.data(), x.data(), rows, columns};
    both(rows / 2, rows, [&](auto begin, auto end) { kernels.flow_on(flow, found_y.data(), begin, end); });
    expect_close(found_y, y, "flow", where);
    both(middle, columns, [&](auto begin, auto end) { all -= kernels.flow_back(flow, dy.data(), found_dx.data(), found.data(), begin, end); });
    expect_close(found_dx, dx, "flow back", where);
    expect_close(found, scores, "scores of flow", where);
    if (!(std::abs(all) <= 1e-9 * double(size))) std::printf("%s: the sum of scores is wrong\n", where), ++failures;
}

// Runs of a stretch, a renewal and LAMP, against sorting.
template <class T>
void test_choices(std::int64_t size) {
    const std::vector<T> scores = numbers<T>(size, 20), growth = numbers<T>(size, 21);
    const auto bytes = std::size_t(size + 7) / 8;
    const auto is_set = [](const std::vector<std::uint8_t>& bits, std::int64_t i) { return bool(bits[std::size_t(i >> 3)] >> (7 - (i & 7)) & 1); };
    const auto best = [&](const std::vector<T>& of, std::int64_t begin, std::int64_t end, std::int64_t count, auto&& candidate, auto&& key) {
        std::vector<std::int64_t> ranked;
        for (std::int64_t i = begin; i < end; ++i)
            if (candidate(i)) ranked.push_back(i);
        std::stable_sort(ranked.begin(), ranked.end(), [&](std::int64_t a, std::int64_t b) { return key(of[std::size_t(a)]) > key(of[std::size_t(b)]); });
        ranked.resize(std::size_t(std::min(count, std::int64_t(ranked.size()))));
        return ranked;
    };
    const auto expect = [&](const std::vector<std::uint8_t>& bits, const std::vector<std::int64_t>& places, const char* what) {
        std::int64_t missing = 0;
        for (const std::int64_t place : places) missing += !is_set(bits, place);
        if (missing || count_set(bits.data(), 0, size) != std::int64_t(places.size())) std::printf("%s of %lld is wrong\n", what, static_cast<long long>(size)), ++failures;
    };
    std::vector<std::uint8_t> kept(bytes), chosen(bytes), renewed(bytes), by_lamp(bytes);
    for (std::int64_t i = 0; i < size; ++i)
        if (i * 5 % 13 < 6) kept[std::size_t(i >> 3)] |= std::uint8_t(128 >> (i & 7));
    const auto is_kept = [&](std::int64_t i) { return is_set(kept, i); };
    const auto itself = [](T x) { return x; };
    const auto magnitude = [](T x) { return std::abs(x); };
    const std::vector<std::int64_t> ends{size / 3, size / 3 + 1, size}, counts{size / 9, 1, size / 7};
    std::vector<std::int64_t> wanted;
    for (std::size_t run = 0; run < ends.size(); ++run)
        for (const std::int64_t place : best(scores, run ? ends[run - 1] : 0, ends[run], counts[run], is_kept, itself)) wanted.push_back(place);
    choose_highest_of_each<T>({scores.data(), kept.data(), chosen.data(), 0, size}, ends.data(), counts.data(), 3);
    expect(chosen, wanted, "the choice of each run");
    wanted = best(scores, 0, size, size / 5, is_kept, magnitude);
    std::vector<bool> free(std::size_t(size), true);
    for (const std::int64_t place : wanted) free[std::size_t(place)] = false;
    for (const std::int64_t place : best(growth, 0, size, size / 6, [&](std::int64_t i) { return free[std::size_t(i)]; }, magnitude)) wanted.push_back(place);
    const Renewal<T> renewal{{scores.data(), kept.data(), renewed.data(), 0, size}, growth.data(), nullptr, size / 5};
    renew<T>(renewal, size / 6, 0);
    expect(renewed, wanted, "a renewal");
    double magnitudes = 0;
    for (std::int64_t i = 0; i < size; ++i)
        if (is_kept(i)) magnitudes += std::abs(double(scores[std::size_t(i)]));
    if (std::abs(magnitude_where(kept.data(), size, scores.data()) - magnitudes) > 1e-9 * (1 + magnitudes)) std::printf("a sum of magnitudes is wrong\n"), ++failures;
    for (const std::int64_t estimated : {std::int64_t(0), size / 6}) {  // the first leads astray
        std::vector<std::uint8_t> shared(bytes);
        const Renewal<T> sharing{{scores.data(), kept.data(), shared.data(), 0, size}, growth.data(), nullptr, size / 5};
        double sum = 0;
        int asked = 0;
        renew_by_shares<T>(std::span<const Renewal<T>>(&sharing, 1), [&](const std::vector<double>& sums) {
            sum = sums[0];
            return std::vector<std::int64_t>{asked++ ? size / 6 : estimated};
        });
        if (sum != magnitude_where(kept.data(), size, growth.data())) std::printf("a sum of what is kept is wrong\n"), ++failures;
        if (shared != renewed) std::printf("a renewal by shares is wrong\n"), ++failures;
    }
    if constexpr (std::is_same_v<T, float>) {
        std::vector<float> positive = scores;
        for (float& score : positive) score = std::abs(score);
        // One layer: LAMP ranks as the scores do.
        const std::vector<Stretch<float>> layer{{positive.data(), kept.data(), by_lamp.data(), 0, size}};
        if (!choose_by_lamp(layer, size / 4)) std::printf("LAMP takes sound scores for none\n"), ++failures;
        expect(by_lamp, best(scores, 0, size, size / 4, is_kept, magnitude), "the choice by LAMP");
    }
}

void test_refusals() {
    const std::int64_t unsorted[] = {1, 0}, outside[] = {0, 9};
    for (const std::int64_t* columns : {unsorted, outside}) {
        try {
            Pattern(1, 4, {0, 2}, columns);
            std::printf("a pattern with wrong columns was taken\n");
            ++failures;
        } catch (const std::invalid_argument&) {
        }
    }
}

template <class T>
void test_all(bool thorough) {
    int combination = 0;
    const std::int64_t shapes[][2] = {{1, 1}, {37, 53}, {130, 300}};
    const std::int64_t batches[] = {1, 2, 3, 5, 8, 17, 33, 64, 70, 128, 256};
    for (const auto& [rows, columns] : shapes)
        // At 0.08 a matrix is cut into blocks, and some rows have no survivor in the last one.
        for (const double density : {0.0, 0.02, 0.08, 0.4, 1.0})
            for (const std::int64_t batch : batches)
                for (const bool feature_major : {false, true})
                    for (const bool relu : {false, true}) {
                        // A tenth of all combinations, spread over every value of each, is enough but for the thorough run.
                        if (!thorough && ++combination % 10 != 0) continue;
                        test_linear<T>(rows, columns, density, batch, feature_major, relu, relu ? 3 : 2);
                    }
    test_linear<T>(3, 70'000, 0.01, 20, false, true, 2);
    test_linear<T>(70'000, 3, 0.3, 20, true, false, 2);
    for (const double density : {0.0, 0.02, 0.08, 0.4})
        for (const std::int64_t batch : {0, 1, 2, 17, 64, 70, 130, 500}) test_chain<T>({70, 300, 37, 130, 9}, density, batch);
    test_chain<T>({40, 400, 400}, 0.5, 64);
    for (const std::int64_t stride : {1, 2, 3})
        for (const std::int64_t padding : {0, 2})
            for (const std::int64_t dilation : {1, 2}) test_conv<T>({5, 7, 41, 3, stride, padding, dilation}, 9, 0.5, padding > 0, 2);
    test_conv<T>({64, 20, 50, 4, 1, 0, 1}, 30, 0.3, true, 3);
    test_words<T>({5, 9, 3, 2}, 4, 0.4, 1);
    test_words<T>({40, 33, 30, 5}, 25, 0.3, 3);
}

}  // namespace

int main(int argc, char** argv) {
    const bool thorough = argc > 1 && !std::strcmp(argv[1], "--thorough");
    test_all<float>(thorough);
    test_all<double>(thorough);
    for (const int threads : {1, 2, 4}) test_embedding(threads), test_bytes(threads);
    test_recurrent();
    test_refusals();
    for (const std::int64_t size : {1, 100, 50'003})
        for (const bool ties : {false, true}) test_selection<float>(size, ties), test_selection<double>(size, ties);
    for (const std::int64_t size : {9, 100, 1'001, 50'003}) test_choices<float>(size), test_choices<double>(size);
    for (const std::int64_t rows : {1, 7, 130})
        for (const std::int64_t columns : {1, 9, 64, 301}) test_scoring<float>(rows, columns), test_scoring<double>(rows, columns);
    // Several callers at once share one pattern, whose plans are built on first use.
    const Matrix matrix(200, 300, 0.2, 14);
    const Pattern pattern = matrix.pattern();
    const auto values = numbers<float>(pattern.survivors(), 15), x = numbers<float>(64 * 300, 16);
    std::vector<std::vector<float>> results(4, std::vector<float>(64 * 200));
    std::vector<std::thread> callers;
    for (auto& y : results)
        callers.emplace_back([&] {
            for (int i = 0; i < 20; ++i) linear_forward<float>({&pattern, values.data(), nullptr, x.data(), false, 64, false, y.data(), 2});
        });
    for (auto& caller : callers) caller.join();
    for (const auto& y : results)
        if (y != results[0]) std::printf("callers at once disagree\n"), ++failures;
    std::printf("%s, threads from %s: %s\n", instruction_set(), thread_source(), failures ? "FAILED" : "passed");
    return failures ? 1 : 0;
}
