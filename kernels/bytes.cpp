#include "bytes.h"

#include "parallel.h"
#include "primitives.h"
#include "tiling.h"

namespace secateur {

void gather_scaled(const ScaledRows& batch) {
    constexpr std::int64_t ahead = 2, line = 64;  // rows lie anywhere in memory: the next ones are fetched while one is scaled
    const std::int64_t width = batch.channels * batch.run;
    parallel(threads_for(2 * batch.count * width, batch.threads), [&](Team& team) {
        std::int64_t first, last;
        team.share(batch.count, first, last);
        const auto fetch = [&](std::int64_t i) {
            if (i < last)
                for (std::int64_t at = 0; at < width; at += line) __builtin_prefetch(batch.table + batch.rows[i] * width + at);
        };
        for (std::int64_t i = first; i < first + ahead; ++i) fetch(i);
        for (std::int64_t i = first; i < last; ++i) {
            fetch(i + ahead);
            for (std::int64_t c = 0; c < batch.channels; ++c)
                primitives<float>().scaled(batch.table + batch.rows[i] * width + c * batch.run, batch.run, batch.factor[c], batch.shift[c],
                                           batch.out + i * width + c * batch.run);
        }
    });
}

}  // namespace secateur
