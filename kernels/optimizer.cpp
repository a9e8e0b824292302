#include "optimizer.h"

#include "parallel.h"
#include "tiling.h"

namespace secateur {
namespace {

template <class T, class Rule>
void step(void (*range)(const Rule&, const Slots<T>&, std::int64_t, std::int64_t), const Rule& rule, const Slots<T>* parameters, std::int64_t count,
          int threads) {
    std::int64_t weights = 0;
    for (std::int64_t i = 0; i < count; ++i) weights += parameters[i].count;
    parallel(threads_for(8 * weights, threads), [&](Team& team) {
        for (std::int64_t i = 0; i < count; ++i) {
            // Shares begin at whole cache lines: threads that write to one line take it from one another.
            constexpr std::int64_t line = 64 / std::int64_t(sizeof(T));
            std::int64_t first, last;
            team.share((parameters[i].count + line - 1) / line, first, last);
            range(rule, parameters[i], first * line, last * line < parameters[i].count ? last * line : parameters[i].count);
        }
    });
}

}  // namespace

template <class T>
void adam_step(const AdamRule<T>& rule, const Slots<T>* parameters, std::int64_t count, int threads) {
    step(primitives<T>().adam, rule, parameters, count, threads);
}

template <class T>
void sgd_step(const SgdRule<T>& rule, const Slots<T>* parameters, std::int64_t count, int threads) {
    step(primitives<T>().sgd, rule, parameters, count, threads);
}

template void adam_step<float>(const AdamRule<float>&, const Slots<float>*, std::int64_t, int);
template void adam_step<double>(const AdamRule<double>&, const Slots<double>*, std::int64_t, int);
template void sgd_step<float>(const SgdRule<float>&, const Slots<float>*, std::int64_t, int);
template void sgd_step<double>(const SgdRule<double>&, const Slots<double>*, std::int64_t, int);

}  // namespace secateur
