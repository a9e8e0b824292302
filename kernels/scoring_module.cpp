// Python's face of what scores compute beside the passes of the network. Arrays are numpy's.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <stdexcept>

#include "parallel.h"
#include "primitives.h"
#include "tiling.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

template <class T, int Axes = 1>
using Array = nb::ndarray<T, nb::numpy, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;

void check_lengths(std::size_t length, std::initializer_list<std::size_t> others) {
    for (const std::size_t other : others)
        if (other != length) throw std::invalid_argument("arrays must fit each other");
}

// Calls range(begin, end) for a share of `count` items in each thread; shares begin at multiples of 64.
template <class F>
void shared(std::int64_t count, std::int64_t work, int threads, F&& range) {
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
    const nb::gil_scoped_release released;
    parallel(threads_for(work, threads), [&](Team& team) {
        std::int64_t first, last;
        team.share((count + 63) / 64, first, last);
        range(64 * first, 64 * last < count ? 64 * last : count);
    });
}

template <class T>
void bind(nb::module_& module) {
    module.def(
        "add_changes",
        [](const Array<const T>& weights, const Array<const T>& gradients, const Array<T>& totals, bool first, int threads) {
            const std::size_t size = weights.shape(0);
            check_lengths(size, {gradients.shape(0), totals.shape(0)});
            shared(std::int64_t(size), std::int64_t(size), threads, [&](std::int64_t begin, std::int64_t end) {
                primitives<T>().add_changes(weights.data(), gradients.data(), totals.data(), first, begin, end);
            });
        },
        "weights"_a.noconvert(), "gradients"_a.noconvert(), "totals"_a.noconvert(), "first"_a, "threads"_a,
        "totals += |weights * gradients|; where `first`, totals are overwritten, and may be the gradients.");
    module.def(
        "popup_step",
        [](const Array<const T>& weights, const Array<const T>& slopes, const Array<T>& scores, const Array<T>& buffers, double rate, double momentum,
           double decay, bool first, int threads) {
            const std::size_t size = weights.shape(0);
            check_lengths(size, {slopes.shape(0), scores.shape(0), buffers.shape(0)});
            const PopupStep<T> step{weights.data(), slopes.data(), scores.data(), buffers.data(), T(rate), T(momentum), T(decay), first};
            shared(std::int64_t(size), std::int64_t(size), threads,
                   [&](std::int64_t begin, std::int64_t end) { primitives<T>().popup_step(step, begin, end); });
        },
        "weights"_a.noconvert(), "slopes"_a.noconvert(), "scores"_a.noconvert(), "buffers"_a.noconvert(), "rate"_a, "momentum"_a, "decay"_a, "first"_a,
        "threads"_a, "scores -= rate * buffers, of buffers = momentum * buffers + slopes * weights * sign(scores) + decay * scores.");
    module.def(
        "times_squares",
        [](const Array<T>& totals, const Array<const T>& weights, double divisor, int threads) {
            const std::size_t size = totals.shape(0);
            check_lengths(size, {weights.shape(0)});
            shared(std::int64_t(size), std::int64_t(size), threads, [&](std::int64_t begin, std::int64_t end) {
                primitives<T>().times_squares(totals.data(), weights.data(), T(divisor), begin, end);
            });
        },
        "totals"_a.noconvert(), "weights"_a.noconvert(), "divisor"_a, "threads"_a, "totals *= weights**2 / divisor.");
    module.def(
        "weigh",
        [](const Array<const T, 2>& weights, const Array<const T>& norms, const Array<T, 2>& scores, int threads) {
            const auto rows = std::int64_t(weights.shape(0)), columns = std::int64_t(weights.shape(1));
            check_lengths(weights.shape(0), {scores.shape(0)});
            check_lengths(weights.shape(1), {scores.shape(1), norms.shape(0)});
            shared(rows, rows * columns, threads, [&](std::int64_t begin, std::int64_t end) {
                primitives<T>().weigh(weights.data(), norms.data(), columns, scores.data(), begin, end);
            });
        },
        "weights"_a.noconvert(), "norms"_a.noconvert(), "scores"_a.noconvert(), "threads"_a, "scores[r, c] = |weights[r, c] * norms[c]|.");
    module.def(
        "add_squares",
        [](const Array<const T, 2>& vectors, const Array<double>& totals, int threads) {
            const auto rows = std::int64_t(vectors.shape(0)), columns = std::int64_t(vectors.shape(1));
            check_lengths(vectors.shape(1), {totals.shape(0)});
            shared(columns, rows * columns, threads, [&](std::int64_t begin, std::int64_t end) {
                primitives<T>().add_squares(vectors.data(), rows, columns, totals.data(), begin, end);
            });
        },
        "vectors"_a.noconvert(), "totals"_a.noconvert(), "threads"_a, "totals[c] += the sum over rows of vectors[r, c]**2.");
}

}  // namespace

void bind_scoring(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
}

}  // namespace secateur
