// Masks that move: the smallest weights of a layer are dropped, others grown.
#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "scan.h"

namespace secateur {
namespace {

constexpr std::int64_t too_few = 32;  // drawn numbers whose mean says little

std::size_t bytes_of(std::int64_t size) { return std::size_t((size + 7) / 8); }

template <class T>
std::span<const Stretch<T>> alone(const Stretch<T>& stretch) {
    return {&stretch, 1};
}

// Keeps the largest of a layer's weights, and finds what may grow: all prunable ones but those.
template <class T>
void drop(const Renewal<T>& layer, std::uint8_t* __restrict free) {
    const Stretch<T>& weights = layer.weights;
    const std::size_t bytes = bytes_of(weights.end);
    choose_highest<T>(alone(weights), layer.stay, true);
    const std::uint8_t* __restrict stays = weights.chosen;
    for (std::size_t i = 0; i < bytes; ++i) free[i] = std::uint8_t(~stays[i]);
    if (const std::uint8_t* __restrict prunable = layer.prunable)
        for (std::size_t i = 0; i < bytes; ++i) free[i] &= prunable[i];
    if (weights.end % 8) free[bytes - 1] &= std::uint8_t(0xFF << (8 - weights.end % 8));
}

template <class T>
void add(const Renewal<T>& layer, const std::uint8_t* __restrict grown) {
    const std::size_t bytes = bytes_of(layer.weights.end);
    std::uint8_t* __restrict renewed = layer.weights.chosen;
    for (std::size_t i = 0; i < bytes; ++i) renewed[i] |= grown[i];
}

// A sum, and by how much of it the true one may differ.
struct Estimate {
    double value, deviation;
};

// The sum of |scores| of the candidates of a layer, by what lies at scattered places; where that says little, as it is.
template <class T>
Estimate estimated_magnitude(const Stretch<T>& layer) {
    if (layer.end > few) {
        T drawn[sampled + 1];
        const std::int64_t size = draw(layer, sampled, true, drawn);
        if (size >= too_few) {
            double sum = 0, squares = 0;
            for (std::int64_t i = 0; i < size; ++i) sum += double(drawn[i]), squares += double(drawn[i]) * double(drawn[i]);
            const double mean = sum / double(size), variance = std::max(squares / double(size) - mean * mean, 0.0);
            return {mean * double(count_set(layer.candidates, 0, layer.end)), mean > 0 ? std::sqrt(variance / double(size)) / mean : 0};
        }
    }
    return {magnitude_where(layer.candidates, layer.end, layer.scores), 0};
}

// What one scan of a layer's growth found: `above` places marked above the range [low, high], [begin, end) of what was collected within it.
template <class T>
struct Grown {
    T low, high;
    bool finite;
    std::int64_t above, begin, end;
    double magnitude;  // of the candidates of the weights
};

template <class T>
Grown<T> scan(const Renewal<T>& layer, const Stretch<T>& competing, std::int64_t expected, double deviation, Found<T>& found) {
    Grown<T> grown{-infinity<T>, infinity<T>, false, found.above, found.collected, 0, 0};
    if (competing.end > addressable) {
        grown.magnitude = magnitude_where(layer.weights.candidates, competing.end, competing.scores);
        return grown;
    }
    const double available = double(count_set(competing.candidates, 0, competing.end));
    if (competing.end > few && available > 0) {
        const double share = std::clamp(double(expected) / available, 0.0, 1.0);
        std::tie(grown.low, grown.high) = bracket(alone(competing), true, competing.end, share, deviation);
    }
    double sums[16] = {};
    grown.finite = found.scan(competing, true, grown.low, grown.high, {sums, layer.weights.candidates});
    grown.above = found.above - grown.above;
    grown.end = found.collected;
    for (const double sum : sums) grown.magnitude += sum;
    found.divide();
    return grown;
}

// Chooses so many of what competes: among what the scan collected, or, where the number lies elsewhere, all anew.
template <class T>
void choose(const Stretch<T>& competing, const Grown<T>& grown, std::int64_t count, Found<T>& found) {
    const std::int64_t rank = count - grown.above, collected = grown.end - grown.begin;
    if (grown.finite && 0 < rank && rank <= collected) {
        std::int64_t higher;
        const Collected<T> candidates = found.from(grown.begin);
        const T threshold = loops<T>().of_rank(candidates.scores, collected, rank, grown.low, grown.high, &higher);
        std::int64_t ties = rank - higher;
        loops<T>().settle(competing, candidates, collected, threshold, &ties);
    } else {
        std::fill_n(competing.chosen, bytes_of(competing.end), std::uint8_t(0));
        choose_highest<T>(alone(competing), count, true);
    }
}

template <class T>
struct Room {
    Found<T> found;
    std::vector<std::uint8_t> bits;  // what may grow in each layer, and what does
};

}  // namespace

template <class T>
void renew(const Renewal<T>& layer, std::int64_t grow, std::uint64_t seed) {
    const std::size_t bytes = bytes_of(layer.weights.end);
    thread_local std::vector<std::uint8_t> free, grown;
    free.resize(bytes);
    grown.assign(bytes, 0);
    drop(layer, free.data());
    if (layer.growth) {
        const Stretch<T> competing{layer.growth, free.data(), grown.data(), 0, layer.weights.end};
        choose_highest<T>(alone(competing), grow, true);
    } else {
        choose_at_random(free.data(), grown.data(), layer.weights.end, grow, seed);
    }
    add(layer, grown.data());
}

template <class T>
void renew_by_shares(std::span<const Renewal<T>> layers, const Shares& shares) {
    thread_local Room<T> kept;  // from call to call
    Room<T> room = std::move(kept);
    std::size_t bytes = 0;
    for (const Renewal<T>& layer : layers) bytes += 2 * bytes_of(layer.weights.end);
    room.bits.assign(bytes, 0);
    std::vector<Stretch<T>> competing;
    std::vector<double> magnitudes, deviations;
    std::uint8_t* bits = room.bits.data();
    for (const Renewal<T>& layer : layers) {
        const Stretch<T>& weights = layer.weights;
        const Estimate estimate = estimated_magnitude<T>({layer.growth, weights.candidates, nullptr, 0, weights.end});
        magnitudes.push_back(estimate.value);
        deviations.push_back(estimate.deviation);
        drop(layer, bits);
        competing.push_back({layer.growth, bits, bits + bytes_of(weights.end), 0, weights.end});
        bits += 2 * bytes_of(weights.end);
    }
    const auto counted = [&] {
        const std::vector<std::int64_t> counts = shares(magnitudes);
        if (counts.size() != layers.size()) throw std::invalid_argument("shares must say how many grow in each layer");
        return counts;
    };
    const std::vector<std::int64_t> expected = counted();
    const double others = layers.empty() ? 0 : *std::max_element(deviations.begin(), deviations.end());
    std::vector<Grown<T>> grown;
    room.found.begin(true);
    for (std::size_t i = 0; i < layers.size(); ++i) {
        grown.push_back(scan(layers[i], competing[i], expected[i], std::hypot(deviations[i], others), room.found));
        magnitudes[i] = grown[i].magnitude;
    }
    const std::vector<std::int64_t> counts = counted();
    for (std::size_t i = 0; i < layers.size(); ++i) {
        choose(competing[i], grown[i], counts[i], room.found);
        add(layers[i], competing[i].chosen);
    }
    kept = std::move(room);
}

template void renew<float>(const Renewal<float>&, std::int64_t, std::uint64_t);
template void renew<double>(const Renewal<double>&, std::int64_t, std::uint64_t);
template void renew_by_shares<float>(std::span<const Renewal<float>>, const Shares&);
template void renew_by_shares<double>(std::span<const Renewal<double>>, const Shares&);

}  // namespace secateur
