#include "embedding.h"

#include <algorithm>

#include "parallel.h"
#include "tiling.h"

namespace secateur {

template <class T>
void embedding_forward(const Pattern& pattern, const T* values, const std::int64_t* ids, std::int64_t count, T* y, int threads) {
    const std::int64_t columns = pattern.columns();
    const std::uint32_t* starts = pattern.row_starts();
    parallel(threads_for(count * columns, threads), [&](Team& team) {
        std::int64_t first, last;
        team.share(count, first, last);
        for (std::int64_t i = first; i < last; ++i) {
            T* row = y + i * columns;
            std::fill_n(row, columns, T(0));
            for (std::size_t k = starts[ids[i]]; k < starts[ids[i] + 1]; ++k) row[pattern.column(k)] = values[k];
        }
    });
}

template <class T>
void embedding_backward(const Pattern& pattern, const std::int64_t* ids, std::int64_t count, const T* dy, T* dvalues, int threads) {
    const std::int64_t columns = pattern.columns();
    const std::uint32_t* starts = pattern.row_starts();
    const std::int64_t work = count * pattern.survivors() / std::max<std::int64_t>(pattern.rows(), 1) + pattern.survivors() / 8;
    parallel(threads_for(work, threads), [&](Team& team) {
        // Each thread owns a range of survivors and adds up the look-ups of its rows, so sums keep one order.
        std::int64_t first, last;
        team.share(pattern.survivors(), first, last);
        const auto first_row = std::upper_bound(starts, starts + pattern.rows() + 1, std::uint32_t(first)) - starts - 1;
        std::fill(dvalues + first, dvalues + last, T(0));
        if (first == last) return;
        for (std::int64_t i = 0; i < count; ++i) {
            if (ids[i] < first_row || std::int64_t(starts[ids[i]]) >= last) continue;
            const T* row = dy + i * columns;
            const std::int64_t from = std::max<std::int64_t>(starts[ids[i]], first), to = std::min<std::int64_t>(starts[ids[i] + 1], last);
            for (std::int64_t k = from; k < to; ++k) dvalues[k] += row[pattern.column(std::size_t(k))];
        }
    });
}

template void embedding_forward<float>(const Pattern&, const float*, const std::int64_t*, std::int64_t, float*, int);
template void embedding_forward<double>(const Pattern&, const double*, const std::int64_t*, std::int64_t, double*, int);
template void embedding_backward<float>(const Pattern&, const std::int64_t*, std::int64_t, const float*, float*, int);
template void embedding_backward<double>(const Pattern&, const std::int64_t*, std::int64_t, const double*, double*, int);

}  // namespace secateur
