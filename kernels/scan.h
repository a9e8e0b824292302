// What the choices share: scans of scores by the loops of this processor, what they find, and numbers from scattered places, which tell
// beforehand where to look.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
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
    // Adds a stretch's candidates in [low, high] and how many lie above, whose squares are added to sixteen sums unless those are null.
    // False where one is not finite, or, where squares are added, negative.
    bool scan(const Stretch<T>& stretch, bool magnitude, T low, T high, double* squares = nullptr) {
        bool sound = true;
        for (std::int64_t begin = stretch.begin; begin < stretch.end; begin += chunk)
            sound &= loops<T>().scan(stretch, begin, std::min(stretch.end, begin + chunk), magnitude, low, high, end(), &collected, &above, squares);
        ends.push_back(collected);
        return sound;
    }
    // The scores found, and behind them such as lie below all bounds, so that they may be read 64 at a time.
    const T* padded() {
        std::fill_n(end().scores, 64, -infinity<T>);
        return scores_.data();
    }
    const std::uint32_t* places() const { return places_.data(); }
    bool with_places = false;
    std::int64_t collected = 0, above = 0;
    std::vector<std::int64_t> ends;  // of each stretch, among what was collected
    std::vector<std::uint8_t> bits;  // room for a mask

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
            at[i] = stretch.begin + (first + i) * step + std::int64_t((state >> 33) % std::uint64_t(step));
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

}  // namespace secateur
