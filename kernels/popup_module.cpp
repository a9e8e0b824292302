// Python's face of edge-popup. Arrays are numpy's.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <stdexcept>
#include <tuple>

#include "popup.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

template <class T>
using Flat = nb::ndarray<T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bits = std::optional<Flat<const std::uint8_t>>;

template <class T>
Popup<T> popup_of(const Flat<const T>& weights, const Flat<T>& scores, const std::optional<Flat<T>>& used, const Bits& candidates, std::int64_t count, int threads) {
    const std::size_t size = weights.shape(0);
    if (scores.shape(0) != size || (used && used->shape(0) != size)) throw std::invalid_argument("arrays must fit each other");
    if (candidates && candidates->shape(0) != (size + 7) / 8) throw std::invalid_argument("candidates must hold a bit for each score");
    if (count < 0) throw std::invalid_argument("count must not be negative");
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
    return {weights.data(), scores.data(), used ? used->data() : nullptr, candidates ? candidates->data() : nullptr, std::int64_t(size), count};
}

template <class T>
std::tuple<T, T, std::int64_t> as_tuple(const Bracket<T>& bracket) {
    return {bracket.low, bracket.high, bracket.above};
}

template <class T>
void bind(nb::module_& module) {
    module.def(
        "uniform",
        [](const Flat<T>& values, double bound, std::uint64_t seed) {
            const nb::gil_scoped_release released;
            primitives<T>().uniform(seed, T(bound), values.data(), 0, std::int64_t(values.shape(0)));
        },
        "values"_a.noconvert(), "bound"_a, "seed"_a, "Numbers of [-bound, bound), alike likely: multiples of bound / 2^23, by splitmix64.");
    module.def(
        "popup_choose",
        [](const Flat<const T>& weights, const Flat<T>& scores, const Flat<T>& used, const Bits& candidates, std::int64_t count, double low, double high,
           int threads) {
            const Popup<T> popup = popup_of<T>(weights, scores, used, candidates, count, threads);
            const nb::gil_scoped_release released;
            return as_tuple(popup_choose<T>(popup, {T(low), T(high), 0}, threads));
        },
        "weights"_a.noconvert(), "scores"_a.noconvert(), "used"_a.noconvert(), "candidates"_a.noconvert().none(), "count"_a, "low"_a, "high"_a, "threads"_a,
        "used = weights at the `count` candidates (None: of all) of largest |score|, elsewhere zero. The threshold is looked for in [low, high] "
        "first. Returns the bracket to hand to the next step.");
    module.def(
        "popup_step",
        [](const Flat<const T>& weights, const Flat<T>& scores, const std::optional<Flat<T>>& used, const Bits& candidates, std::int64_t count,
           const std::tuple<T, T, std::int64_t>& bracket, const Flat<const T>& slopes, const Flat<T>& buffers, double rate, double momentum, double decay,
           bool first, int threads) {
            const Popup<T> popup = popup_of<T>(weights, scores, used, candidates, count, threads);
            if (slopes.shape(0) != weights.shape(0) || buffers.shape(0) != weights.shape(0)) throw std::invalid_argument("arrays must fit each other");
            const PopupStep<T> step{slopes.data(), buffers.data(), T(rate), T(momentum), T(decay), first};
            const auto [low, high, above] = bracket;
            const nb::gil_scoped_release released;
            return as_tuple(popup_step<T>(popup, step, {low, high, above}, threads));
        },
        "weights"_a.noconvert(), "scores"_a.noconvert(), "used"_a.noconvert().none(), "candidates"_a.noconvert().none(), "count"_a, "bracket"_a,
        "slopes"_a.noconvert(), "buffers"_a.noconvert(), "rate"_a, "momentum"_a, "decay"_a, "first"_a, "threads"_a,
        "scores -= rate * buffers, of buffers = momentum * buffers + slopes * weights * sign(scores) + decay * scores; then the choice again. Without "
        "`used`, the last step: scores become their magnitudes, and buffers stay. The first step reads no buffers, which may be the slopes.");
}

}  // namespace

void bind_popup(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
}

}  // namespace secateur
