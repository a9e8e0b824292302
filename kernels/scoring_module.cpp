// Python's face of what scores compute beside the passes of the network. Arrays are numpy's.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <atomic>
#include <cmath>
#include <initializer_list>
#include <optional>
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
template <class T>
using AnyShape = nb::ndarray<T, nb::numpy, nb::c_contig, nb::device::cpu>;

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
Flow<T> flow_of(const Array<const T, 2>& weights, const Array<const double>& x) {
    check_lengths(weights.shape(1), {x.shape(0)});
    return {weights.data(), x.data(), std::int64_t(weights.shape(0)), std::int64_t(weights.shape(1))};
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
        "squares",
        [](const Array<T>& totals, const std::optional<Array<const T>>& gradients, const std::optional<Array<const T>>& weights, double divisor, bool first,
           int threads) {
            const std::size_t size = totals.shape(0);
            check_lengths(size, {gradients ? gradients->shape(0) : size, weights ? weights->shape(0) : size});
            const Squares<T> squares{totals.data(), gradients ? gradients->data() : nullptr, weights ? weights->data() : nullptr, T(divisor), first};
            shared(std::int64_t(size), std::int64_t(size), threads, [&](std::int64_t begin, std::int64_t end) { primitives<T>().squares(squares, begin, end); });
        },
        "totals"_a.noconvert(), "gradients"_a.noconvert().none(), "weights"_a.noconvert().none(), "divisor"_a, "first"_a, "threads"_a,
        "totals = (totals + gradients**2) * weights**2 / divisor, without the parts that are None; where `first`, totals are squared before.");
    module.def(
        "weigh",
        [](const AnyShape<const T>& weights, const AnyShape<const T>& norms, const AnyShape<T>& scores, int threads) {
            const auto columns = std::int64_t(norms.size()), rows = columns ? std::int64_t(weights.size()) / columns : 0;
            check_lengths(weights.size(), {scores.size(), std::size_t(rows * columns)});
            shared(rows, rows * columns, threads, [&](std::int64_t begin, std::int64_t end) {
                primitives<T>().weigh(weights.data(), norms.data(), columns, scores.data(), begin, end);
            });
        },
        "weights"_a.noconvert(), "norms"_a.noconvert(), "scores"_a.noconvert(), "threads"_a,
        "scores[r, c] = |weights[r, c] * norms[c]|, whatever the shapes in which rows and columns lie.");
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
    module.def(
        "flow_on",
        [](const Array<const T, 2>& weights, const Array<const double>& x, const Array<double>& y, int threads) {
            const Flow<T> flow = flow_of(weights, x);
            check_lengths(weights.shape(0), {y.shape(0)});
            shared(flow.rows, flow.rows * flow.columns, threads,
                   [&](std::int64_t begin, std::int64_t end) { primitives<T>().flow_on(flow, y.data(), begin, end); });
        },
        "weights"_a.noconvert(), "x"_a.noconvert(), "y"_a.noconvert(), "threads"_a, "y = |weights| x.");
    module.def(
        "flow_back",
        [](const Array<const T, 2>& weights, const Array<const double>& x, const Array<const double>& dy, const Array<double>& dx,
           const Array<double, 2>& scores, int threads) {
            const Flow<T> flow = flow_of(weights, x);
            check_lengths(weights.shape(0), {dy.shape(0), scores.shape(0)});
            check_lengths(weights.shape(1), {dx.shape(0), scores.shape(1)});
            std::atomic<bool> finite = true;
            shared(flow.columns, flow.rows * flow.columns, threads, [&](std::int64_t begin, std::int64_t end) {
                if (!std::isfinite(primitives<T>().flow_back(flow, dy.data(), dx.data(), scores.data(), begin, end))) finite = false;
            });
            return finite.load();
        },
        "weights"_a.noconvert(), "x"_a.noconvert(), "dy"_a.noconvert(), "dx"_a.noconvert(), "scores"_a.noconvert(), "threads"_a,
        "dx = |weights|^T dy, and scores = |weights| * dy x^T. Whether the sums of scores are finite: then all are.");
}

}  // namespace

void bind_scoring(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
}

}  // namespace secateur
