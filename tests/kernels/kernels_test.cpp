// A test of the kernels without Python, for the sanitizers and for other processors: every layer against a plain loop in double
// precision, over shapes with remainders, all tile sizes, several threads, and several callers at once.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <algorithm>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "conv.h"
#include "embedding.h"
#include "linear.h"
#include "parallel.h"
#include "primitives.h"

using namespace secateur;

namespace {

int failures = 0;

struct Matrix {
    std::int64_t rows, columns;
    std::vector<std::uint32_t> starts{0};
    std::vector<std::int64_t> column_of;

    Matrix(std::int64_t rows_, std::int64_t columns_, double density, unsigned seed) : rows(rows_), columns(columns_) {
        std::mt19937 draw(seed);
        std::uniform_real_distribution<double> uniform(0, 1);
        for (std::int64_t r = 0; r < rows; ++r) {
            // Rows of very different lengths: sorting by length and short tails both get work.
            const double here = r % 7 == 3 ? std::min(1.0, 4 * density) : density;
            for (std::int64_t c = 0; c < columns; ++c)
                if (uniform(draw) < here) column_of.push_back(c);
            starts.push_back(std::uint32_t(column_of.size()));
        }
    }
    Pattern pattern() const { return Pattern(rows, columns, starts, column_of.data()); }
};

template <class T>
std::vector<T> numbers(std::int64_t count, unsigned seed) {
    std::mt19937 draw(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    std::vector<T> made(static_cast<std::size_t>(count));
    for (T& each : made) each = T(uniform(draw));
    return made;
}

template <class T>
void expect_close(const std::vector<T>& found, const std::vector<double>& wanted, const char* what, const char* where) {
    const double tolerance = sizeof(T) == 4 ? 2e-4 : 1e-10;
    for (std::size_t i = 0; i < wanted.size(); ++i)
        if (!(std::abs(double(found[i]) - wanted[i]) <= tolerance * (1 + std::abs(wanted[i])))) {
            std::printf("%s, %s: number %zu is %g, not %g\n", where, what, i, double(found[i]), wanted[i]);
            ++failures;
            return;
        }
}

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

    std::vector<T> y(std::size_t(batch * rows), T(NAN)), packed(feature_major ? 0 : std::size_t(packed_size<T>(pattern, batch)));
    linear_forward<T>({&pattern, values.data(), bias.data(), x.data(), feature_major, batch, relu, feature_major ? nullptr : packed.data(), y.data(),
                       threads});
    std::vector<double> wanted(y.size());
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t b = 0; b < batch; ++b) {
            double sum = double(bias[std::size_t(r)]);
            for (auto k = matrix.starts[std::size_t(r)]; k < matrix.starts[std::size_t(r) + 1]; ++k)
                sum += double(values[k]) * double(x[in(matrix.column_of[k], b)]);
            wanted[out(r, b)] = relu ? std::max(sum, 0.0) : sum;
        }
    expect_close(y, wanted, "output", where);
    std::vector<T> inferred(y.size(), T(NAN));
    linear_forward<T>({&pattern, values.data(), bias.data(), x.data(), feature_major, batch, relu, nullptr, inferred.data(), threads});
    expect_close(inferred, wanted, "output without a backward pass", where);

    std::vector<T> dx(x.size(), T(NAN)), dvalues(values.size(), T(NAN)), dbias(bias.size(), T(NAN));
    linear_backward<T>({&pattern, values.data(), feature_major ? x.data() : packed.data(), dy.data(), relu ? y.data() : nullptr, feature_major, batch,
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
    linear_backward<T>({&pattern, values.data(), feature_major ? x.data() : packed.data(), dy.data(), relu ? y.data() : nullptr, feature_major, batch,
                        nullptr, only.data(), nullptr, 1});
    if (only != dvalues) std::printf("%s: the gradient depends on the threads or on what else is asked\n", where), ++failures;
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
        for (const double density : {0.0, 0.02, 0.4, 1.0})
            for (const std::int64_t batch : batches)
                for (const bool feature_major : {false, true})
                    for (const bool relu : {false, true}) {
                        // A tenth of all combinations, spread over every value of each, is enough but for the thorough run.
                        if (!thorough && ++combination % 10 != 0) continue;
                        test_linear<T>(rows, columns, density, batch, feature_major, relu, relu ? 3 : 2);
                    }
    test_linear<T>(3, 70'000, 0.01, 20, false, true, 2);
    test_linear<T>(70'000, 3, 0.3, 20, true, false, 2);
    for (const std::int64_t stride : {1, 2, 3})
        for (const std::int64_t padding : {0, 2})
            for (const std::int64_t dilation : {1, 2}) test_conv<T>({5, 7, 41, 3, stride, padding, dilation}, 9, 0.5, padding > 0, 2);
    test_conv<T>({64, 20, 50, 4, 1, 0, 1}, 30, 0.3, true, 3);
}

}  // namespace

int main(int argc, char** argv) {
    const bool thorough = argc > 1 && !std::strcmp(argv[1], "--thorough");
    test_all<float>(thorough);
    test_all<double>(thorough);
    for (const int threads : {1, 2, 4}) test_embedding(threads);
    test_refusals();
    // Several callers at once share one pattern, whose plans are built on first use.
    const Matrix matrix(200, 300, 0.2, 14);
    const Pattern pattern = matrix.pattern();
    const auto values = numbers<float>(pattern.survivors(), 15), x = numbers<float>(64 * 300, 16);
    std::vector<std::vector<float>> results(4, std::vector<float>(64 * 200));
    std::vector<std::thread> callers;
    for (auto& y : results)
        callers.emplace_back([&] {
            for (int i = 0; i < 20; ++i) linear_forward<float>({&pattern, values.data(), nullptr, x.data(), false, 64, false, nullptr, y.data(), 2});
        });
    for (auto& caller : callers) caller.join();
    for (const auto& y : results)
        if (y != results[0]) std::printf("callers at once disagree\n"), ++failures;
    std::printf("%s, threads from %s: %s\n", instruction_set(), thread_source(), failures ? "FAILED" : "passed");
    return failures ? 1 : 0;
}
