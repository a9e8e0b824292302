// What the choices share: scans of scores by the loops of this processor, what they find, and numbers from scattered places, which tell
// beforehand where to look.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "selection.h"

namespace secateur {

// The loops of the instruction set in use.
const SelectionInstructions& selection_instructions();

template <class T>
const SelectionLoops<T>& loops() {
    if constexpr (std::is_same_v<T, float>)
        return selection_instructions().single;
    else
        return selection_instructions().twofold;
}

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

// Fewer places are searched as they are.
constexpr std::int64_t few = 1 << 14;

// A stretch of more has places that no scan can note.
constexpr std::int64_t addressable = std::int64_t(1) << 32;

constexpr std::int64_t sampled = 1 << 12;  // of many places, so many tell where to search
constexpr double deviations = 3;           // by which the search reaches beyond what they say

// What a scan found. A thread keeps the memory from call to call: fresh pages would cost half as much as the scan.
template <class T>
class Found {
  public:
    static constexpr std::int64_t chunk = 1 << 13;  // places scanned before room for what is found is looked for

    // Nothing yet; places are to be found with the scores, or not.
    void begin(bool places) {
        with_places = places;
        collected = above = 0;
        ends.clear();
    }
    // Where the next candidates go: there is room for a chunk.
    Collected<T> end() {
        const auto needed = std::size_t(collected + chunk + 64);
        if (scores_.size() < needed) scores_.resize(2 * needed);
        if (with_places && places_.size() < needed) places_.resize(2 * needed);
        return {scores_.data() + collected, with_places ? places_.data() + collected : nullptr};
    }
    // Adds a stretch's candidates in [low, high] and how many lie above. False where one is not finite.
    bool scan(const Stretch<T>& stretch, bool magnitude, T low, T high, const Sums& sums = {}) {
        bool sound = true;
        for (std::int64_t begin = stretch.begin; begin < stretch.end; begin += chunk)
            sound &= loops<T>().scan(stretch, begin, std::min(stretch.end, begin + chunk), magnitude, low, high, end(), &collected, &above, sums);
        ends.push_back(collected);
        return sound;
    }
    // The scores found, and behind them such as lie below all bounds, so that they may be read 64 at a time.
    const T* padded() {
        std::fill_n(end().scores, 64, -infinity<T>);
        return scores_.data();
    }
    // The same for what was found until now; what follows is found apart.
    void divide() {
        padded();
        collected += 64;
    }
    // What was found from the so many-th on.
    Collected<T> from(std::int64_t begin) { return {scores_.data() + begin, with_places ? places_.data() + begin : nullptr}; }
    const std::uint32_t* places() const { return places_.data(); }
    bool with_places = false;
    std::int64_t collected = 0, above = 0;
    std::vector<std::int64_t> ends;  // of each stretch, among what was collected

  private:
    std::vector<T> scores_;
    std::vector<std::uint32_t> places_;
};

template <class T>
Found<T>& found_by_this_thread() {
    thread_local Found<T> found;
    return found;
}

// The finite scores of candidates at so many scattered, fixed places of a stretch, which has as many; returns how many they are.
template <class T>
std::int64_t draw(const Stretch<T>& stretch, std::int64_t places, bool magnitude, T* to) {
    constexpr std::int64_t together = 256;  // are fetched before the first is read
    std::int64_t at[together], size = 0;
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    const std::int64_t step = places ? (stretch.end - stretch.begin) / places : 0;
    for (std::int64_t first = 0; first < places; first += together) {
        const std::int64_t count = std::min(together, places - first);
        for (std::int64_t i = 0; i < count; ++i) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            at[i] = stretch.begin + (first + i) * step + std::int64_t((state >> 32) * std::uint64_t(step) >> 32);
            __builtin_prefetch(stretch.scores + at[i]);
        }
        for (std::int64_t i = 0; i < count; ++i) {
            const T score = stretch.scores[at[i]];
            to[size] = magnitude ? std::abs(score) : score;
            size += (stretch.candidates[at[i] >> 3] >> (7 - (at[i] & 7)) & 1) & std::isfinite(score);
        }
    }
    return size;
}

// Where the candidate that `share` of them do not rank below lies in all likelihood: numbers at scattered, fixed places tell. The share
// itself may be known but to a relative deviation.
template <class T>
std::pair<T, T> bracket(std::span<const Stretch<T>> stretches, bool magnitude, std::int64_t places, double share, double deviation = 0) {
    std::unique_ptr<T[]> drawn(new T[sampled + 64]);
    std::int64_t size = 0, before = 0, first = 0;
    for (const Stretch<T>& stretch : stretches) {
        before += stretch.end - stretch.begin;
        const std::int64_t last = std::int64_t(double(sampled) * double(before) / double(places));
        size += draw(stretch, last - first, magnitude, drawn.get() + size);
        first = last;
    }
    if (size < sampled / 64) return {-infinity<T>, infinity<T>};
    const double rank = share * double(size), spread = deviations * std::sqrt(rank * (1 - share) + rank * deviation * rank * deviation) + 1;
    std::fill_n(drawn.get() + size, 64, -infinity<T>);
    const double upper = rank - spread, lower = rank + spread + 1;
    const auto of_rank = [&](double number) {
        std::int64_t above;
        return loops<T>().of_rank(drawn.get(), size, std::int64_t(number), -infinity<T>, infinity<T>, &above);
    };
    return {lower > double(size) ? -infinity<T> : of_rank(lower), upper < 1 ? infinity<T> : of_rank(upper)};
}

}  // namespace secateur
