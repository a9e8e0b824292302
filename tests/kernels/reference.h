// What the tests of the kernels share: random sparse matrices and numbers, and comparison with a plain computation in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include "pattern.h"

namespace secateur {

inline int failures = 0;

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

}  // namespace secateur
