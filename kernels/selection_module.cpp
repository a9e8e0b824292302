// Python's face of the selection. Arrays are numpy's.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "selection.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

template <class T>
using Flat = nb::ndarray<T, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class T>
Stretch<T> stretch_of(const Flat<const T>& scores, const Flat<const std::uint8_t>& candidates, const Flat<std::uint8_t>& chosen) {
    const std::size_t size = scores.shape(0), bytes = (size + 7) / 8;
    if (candidates.shape(0) != bytes || chosen.shape(0) != bytes) throw std::invalid_argument("candidates and chosen must hold a bit for each score");
    if (size % 8 && bytes && (candidates.data()[bytes - 1] & ((1u << (8 - size % 8)) - 1)))
        throw std::invalid_argument("bits beyond the last score must be clear");
    return {scores.data(), candidates.data(), chosen.data(), 0, std::int64_t(size)};
}

template <class T>
std::vector<Stretch<T>> stretches_of(const std::vector<Flat<const T>>& scores, const std::vector<Flat<const std::uint8_t>>& candidates,
                                     const std::vector<Flat<std::uint8_t>>& chosen) {
    if (candidates.size() != scores.size() || chosen.size() != scores.size()) throw std::invalid_argument("scores, candidates and chosen must be as many");
    std::vector<Stretch<T>> stretches;
    for (std::size_t i = 0; i < scores.size(); ++i) stretches.push_back(stretch_of<T>(scores[i], candidates[i], chosen[i]));
    return stretches;
}

template <class T>
std::int64_t highest(const std::vector<Flat<const T>>& scores, const std::vector<Flat<const std::uint8_t>>& candidates,
                     const std::vector<Flat<std::uint8_t>>& chosen, std::int64_t count, bool magnitude) {
    const std::vector<Stretch<T>> stretches = stretches_of(scores, candidates, chosen);
    const nb::gil_scoped_release released;
    return choose_highest<T>(stretches, count, magnitude);
}

bool highest_by_lamp(const std::vector<Flat<const float>>& scores, const std::vector<Flat<const std::uint8_t>>& candidates,
                     const std::vector<Flat<std::uint8_t>>& chosen, std::int64_t count) {
    const std::vector<Stretch<float>> layers = stretches_of(scores, candidates, chosen);
    const nb::gil_scoped_release released;
    return choose_by_lamp(layers, count);
}

template <class T>
bool highest_of_each(const Flat<const T>& scores, const Flat<const std::uint8_t>& candidates, const Flat<std::uint8_t>& chosen,
                     const Flat<const std::int64_t>& ends, const Flat<const std::int64_t>& counts) {
    const Stretch<T> whole = stretch_of<T>(scores, candidates, chosen);
    if (counts.shape(0) != ends.shape(0)) throw std::invalid_argument("ends and counts must be as many");
    std::int64_t before = 0;
    for (std::size_t i = 0; i < ends.shape(0); ++i) {
        if (ends.data()[i] < before || ends.data()[i] > whole.end) throw std::invalid_argument("ends must not fall, nor pass the number of scores");
        before = ends.data()[i];
    }
    const nb::gil_scoped_release released;
    return choose_highest_of_each(whole, ends.data(), counts.data(), std::int64_t(ends.shape(0)));
}

// The bits of `size` places, checked.
const std::uint8_t* bits_of(const Flat<const std::uint8_t>& bits, std::size_t size) {
    const std::size_t bytes = (size + 7) / 8;
    if (bits.shape(0) != bytes) throw std::invalid_argument("bits must hold one for each value");
    if (size % 8 && (bits.data()[bytes - 1] & ((1u << (8 - size % 8)) - 1))) throw std::invalid_argument("bits beyond the last value must be clear");
    return bits.data();
}

template <class T>
void fill(const Flat<const std::uint8_t>& bits, const Flat<T>& values, double value, const std::optional<Flat<const std::uint8_t>>& except) {
    const std::size_t size = values.shape(0);
    const std::uint8_t* set = bits_of(bits, size);
    const std::uint8_t* kept = except ? bits_of(*except, size) : nullptr;
    const nb::gil_scoped_release released;
    fill_where(set, kept, std::int64_t(size), values.data(), T(value));
}

void at_random(const Flat<const std::uint8_t>& candidates, const Flat<std::uint8_t>& chosen, std::int64_t size, std::int64_t count, std::uint64_t seed) {
    if (size < 0 || chosen.shape(0) != candidates.shape(0)) throw std::invalid_argument("chosen must hold a bit for each place");
    const std::uint8_t* set = bits_of(candidates, std::size_t(size));
    const nb::gil_scoped_release released;
    choose_at_random(set, chosen.data(), size, count, seed);
}

using MaybeBits = std::optional<Flat<const std::uint8_t>>;

template <class T>
Renewal<T> renewal_of(const Flat<const T>& weights, const Flat<const std::uint8_t>& kept, const Flat<std::uint8_t>& into, std::int64_t stay,
                      const std::optional<Flat<const T>>& growth, const MaybeBits& prunable) {
    const Stretch<T> stretch = stretch_of<T>(weights, kept, into);
    if (growth && growth->shape(0) != weights.shape(0)) throw std::invalid_argument("growth must hold a number for each weight");
    return {stretch, growth ? growth->data() : nullptr, prunable ? bits_of(*prunable, weights.shape(0)) : nullptr, stay};
}

template <class T>
void renewed(const Flat<const T>& weights, const Flat<const std::uint8_t>& kept, const Flat<std::uint8_t>& into, std::int64_t stay, std::int64_t grow,
             const std::optional<Flat<const T>>& growth, const MaybeBits& prunable, std::uint64_t seed) {
    const Renewal<T> layer = renewal_of(weights, kept, into, stay, growth, prunable);
    const nb::gil_scoped_release released;
    renew(layer, grow, seed);
}

template <class T>
void renewed_by_shares(const std::vector<Flat<const T>>& weights, const std::vector<Flat<const std::uint8_t>>& kept,
                       const std::vector<Flat<std::uint8_t>>& into, const std::vector<std::int64_t>& stay, const std::vector<Flat<const T>>& growth,
                       const std::vector<MaybeBits>& prunable, const Shares& shares) {
    for (const std::size_t count : {kept.size(), into.size(), stay.size(), growth.size(), prunable.size()})
        if (count != weights.size()) throw std::invalid_argument("what is given of layers must be as many");
    std::vector<Renewal<T>> layers;
    for (std::size_t i = 0; i < weights.size(); ++i) layers.push_back(renewal_of<T>(weights[i], kept[i], into[i], stay[i], growth[i], prunable[i]));
    const nb::gil_scoped_release released;
    renew_by_shares<T>(layers, shares);
}

template <class T>
void bind(nb::module_& module) {
    module.def("highest", &highest<T>, "scores"_a.noconvert(), "candidates"_a.noconvert(), "chosen"_a.noconvert(), "count"_a, "magnitude"_a = false,
               "Set the bits of the `count` highest scores among the candidates of all arrays; ties to the earlier array and place. Returns the number of "
               "the first array in which a candidate is not finite, or -1.");
    module.def("highest_of_each", &highest_of_each<T>, "scores"_a.noconvert(), "candidates"_a.noconvert(), "chosen"_a.noconvert(),
               "ends"_a.noconvert(), "counts"_a.noconvert(),
               "The same for each run of places of one array: run i ends before ends[i] and keeps counts[i]. False where a candidate is not finite.");
    module.def("renew", &renewed<T>, "weights"_a.noconvert(), "kept"_a.noconvert(), "renewed"_a.noconvert(), "stay"_a, "grow"_a,
               "growth"_a.noconvert() = nb::none(), "prunable"_a.noconvert() = nb::none(), "seed"_a = 0,
               "Set the bits of the `stay` kept weights of largest |weight|, and of `grow` others: of largest |growth|, or drawn by the seed.");
    module.def("renew_by_shares", &renewed_by_shares<T>, "weights"_a.noconvert(), "kept"_a.noconvert(), "renewed"_a.noconvert(), "stay"_a,
               "growth"_a.noconvert(), "prunable"_a.noconvert(), "shares"_a,
               "The same for layers that share what grows: `shares` says how many in each, given the sums of |growth| of their kept weights. It is asked "
               "with estimates first.");
    module.def("fill_where", &fill<T>, "bits"_a.noconvert(), "values"_a.noconvert(), "value"_a, "but"_a.noconvert() = nb::none(),
               "values[i] = value wherever bit i is set, and not set in `but`.");
}

}  // namespace

void bind_selection(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
    module.def("highest_by_lamp", &highest_by_lamp, "scores"_a.noconvert(), "candidates"_a.noconvert(), "chosen"_a.noconvert(), "count"_a,
               "As `highest`, by LAMP's scores of these. False, and nothing is chosen, where a candidate's score is negative or not finite.");
    module.def("at_random", &at_random, "candidates"_a.noconvert(), "chosen"_a.noconvert(), "size"_a, "count"_a, "seed"_a,
               "Set the bits of `count` candidates, each set of so many with the same chance.");
    module.def("count_set", [](const Flat<const std::uint8_t>& bits) { return count_set(bits.data(), 0, 8 * std::int64_t(bits.shape(0))); },
               "bits"_a.noconvert(), "How many bits are set.");
}

}  // namespace secateur
