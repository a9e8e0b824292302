#include "selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "primitives.h"
#include "scan.h"

namespace secateur {

#if defined(__x86_64__)
namespace avx512 {
extern const SelectionInstructions selection;
}
namespace avx2 {
extern const SelectionInstructions selection;
}
#endif
namespace baseline {
extern const SelectionInstructions selection;
}

const SelectionInstructions& selection_instructions() {
    static const SelectionInstructions& set = []() -> const SelectionInstructions& {
#if defined(__x86_64__)
        if (!std::strcmp(instruction_set(), "avx512")) return avx512::selection;
        if (!std::strcmp(instruction_set(), "avx2")) return avx2::selection;
#endif
        return baseline::selection;
    }();
    return set;
}

namespace {

// Candidates of all stretches in [low, high], and how many lie above. Returns the number of the first stretch that has one that is not
// finite, else -1.
template <class T>
std::int64_t scan(std::span<const Stretch<T>> stretches, bool magnitude, T low, T high, Found<T>& found) {
    std::int64_t odd = -1;
    found.begin(found.with_places);
    for (std::size_t number = 0; number < stretches.size(); ++number)
        if (!found.scan(stretches[number], magnitude, low, high) && odd < 0) odd = std::int64_t(number);
    return odd;
}

// Where the thresholds of few places lie, going by those of others before.
template <class T>
class Guess {
  public:
    bool any() const { return any_; }
    std::pair<T, T> range() const { return {middle_ - 3 * deviation_, middle_ + 3 * deviation_}; }
    void learn(T threshold) {
        const T off = any_ ? std::abs(threshold - middle_) : 0;
        middle_ = any_ ? middle_ + (threshold - middle_) / 4 : threshold;
        deviation_ = any_ ? deviation_ + (off - deviation_) / 8 : std::abs(threshold);
        any_ = std::isfinite(middle_) && std::isfinite(8 * deviation_);
    }

  private:
    bool any_ = false;
    T middle_ = 0, deviation_ = 0;  // running means of thresholds, and of how far they lay from it
};

// As `choose_highest`, of so many candidates.
template <class T>
std::int64_t choose(std::span<const Stretch<T>> stretches, std::int64_t candidates, std::int64_t count, bool magnitude, Found<T>& found,
                    Guess<T>* guess = nullptr) {
    std::int64_t places = 0;
    bool small = true;
    for (const Stretch<T>& stretch : stretches) {
        places += stretch.end - stretch.begin;
        small &= stretch.end - stretch.begin <= addressable;
    }
    const bool none = count <= 0, all = !none && count >= candidates;
    const bool guessed = guess && guess->any();
    // Where few are to be collected, the scan that does marks too, and memory is read once.
    found.begin(!none && !all && (places > few || guessed) && small);
    T low = -infinity<T>, high = infinity<T>;
    if (none || all)
        std::swap(low, high);  // nothing is to be found
    else if (places > few)
        std::tie(low, high) = bracket(stretches, magnitude, places, double(count) / double(candidates));
    else if (guessed)
        std::tie(low, high) = guess->range();
    const std::int64_t odd = scan(stretches, magnitude, low, high, found);
    T threshold = none ? infinity<T> : -infinity<T>;
    std::int64_t ties = none ? 0 : candidates;
    if (!none && !all) {
        if (found.above >= count) {  // drawn numbers, or others before, misled: it lies above
            low = high, high = infinity<T>;
            scan(stretches, magnitude, low, high, found);
        } else if (found.above + found.collected < count) {  // or below
            high = low, low = -infinity<T>;
            scan(stretches, magnitude, low, high, found);
        }
        const std::int64_t rank = count - found.above;
        if (rank > found.collected) return odd;  // some candidates are no numbers
        std::int64_t higher;
        threshold = loops<T>().of_rank(found.padded(), found.collected, rank, low, high, &higher);
        ties = rank - higher;
        if (guess) guess->learn(threshold);
    }
    if (found.with_places) {
        std::int64_t begin = 0;
        for (std::size_t number = 0; number < stretches.size(); begin = found.ends[number++])
            loops<T>().settle(stretches[number], found.from(begin), found.ends[number] - begin, threshold, &ties);
    } else {
        for (const Stretch<T>& stretch : stretches) loops<T>().mark(stretch, magnitude, threshold, &ties);
    }
    return odd;
}

}  // namespace

std::int64_t count_set(const std::uint8_t* bits, std::int64_t begin, std::int64_t end) {
    std::int64_t count = 0, i = begin;
    const auto one = [&] { count += bits[i >> 3] >> (7 - (i & 7)) & 1; };
    for (; i < end && (i & 7); ++i) one();
    if (i < end) {
        const std::int64_t words = (end - i) / 64;
        count += selection_instructions().count(bits + (i >> 3), words);
        i += 64 * words;
    }
    for (; i < end; ++i) one();
    return count;
}

template <class T>
std::int64_t choose_highest(std::span<const Stretch<T>> stretches, std::int64_t count, bool magnitude) {
    std::int64_t candidates = 0;
    for (const Stretch<T>& stretch : stretches) candidates += count_set(stretch.candidates, stretch.begin, stretch.end);
    return choose(stretches, candidates, count, magnitude, found_by_this_thread<T>());
}

template <class T>
bool choose_highest_of_each(const Stretch<T>& whole, const std::int64_t* ends, const std::int64_t* counts, std::int64_t runs) {
    bool finite = true;
    Stretch<T> run = whole;
    Found<T>& found = found_by_this_thread<T>();
    Guess<T> guess;
    for (std::int64_t i = 0; i < runs; ++i) {
        run.end = ends[i];
        finite &= choose(std::span<const Stretch<T>>(&run, 1), count_set(run.candidates, run.begin, run.end), counts[i], false, found, &guess) < 0;
        run.begin = run.end;
    }
    return finite;
}

namespace {

// Words of 64 bits, the first place highest; zero behind the last byte.
std::uint64_t word_at(const std::uint8_t* bits, std::int64_t first, std::int64_t bytes) {
    std::uint64_t word = 0;
    if (first + 8 <= bytes)
        for (std::int64_t i = 0; i < 8; ++i) word = word << 8 | bits[first + i];
    else
        for (std::int64_t i = 0; i < 8; ++i) word = word << 8 | (first + i < bytes ? bits[first + i] : 0);
    return word;
}

// `found(place)` for each bit that is set.
template <class F>
void for_each_set(const std::uint8_t* bits, std::int64_t size, F&& found) {
    const std::int64_t bytes = (size + 7) / 8;
    for (std::int64_t first = 0; first < bytes; first += 8) {
        std::uint64_t left = word_at(bits, first, bytes);
        while (left) {
            const int place = std::countl_zero(left);
            found(8 * first + place);
            left &= ~(std::uint64_t(1) << (63 - place));
        }
    }
}

}  // namespace

template <class T>
void fill_where(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value) {
    loops<T>().fill(bits, except, size, values, value);
}

template <class T>
double magnitude_where(const std::uint8_t* bits, std::int64_t size, const T* values) {
    return loops<T>().magnitude(bits, size, values);
}

void choose_at_random(const std::uint8_t* candidates, std::uint8_t* chosen, std::int64_t size, std::int64_t count, std::uint64_t seed) {
    const std::int64_t available = count_set(candidates, 0, size);
    count = std::clamp(count, std::int64_t(0), available);
    const bool leaves = count > available / 2;  // then those are drawn that are left out
    if (leaves) std::memcpy(chosen, candidates, std::size_t((size + 7) / 8));
    std::vector<std::int64_t> listed;  // where candidates are rare, their places; else places are drawn until one is a candidate
    if (available < size / 16) {
        listed.reserve(std::size_t(available));
        for_each_set(candidates, size, [&](std::int64_t i) { listed.push_back(i); });
    }
    const auto bound = std::uint64_t(listed.empty() ? size : available), partial = bound ? -bound % bound : 0;
    const auto is_set = [](const std::uint8_t* bits, std::int64_t i) { return bool(bits[i >> 3] >> (7 - (i & 7)) & 1); };
    for (std::int64_t left = leaves ? available - count : count; left > 0;) {
        // splitmix64 (Steele et al. 2014), and Lemire's (2019) unbiased way into [0, bound)
        std::uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        const unsigned __int128 wide = static_cast<unsigned __int128>(z) * bound;
        if (std::uint64_t(wide) < partial) continue;
        const auto drawn = std::int64_t(wide >> 64);
        const std::int64_t place = listed.empty() ? drawn : listed[std::size_t(drawn)];
        // No branch: too many would be misjudged.
        const bool taken = is_set(candidates, place) & (is_set(chosen, place) == leaves);
        chosen[place >> 3] ^= std::uint8_t(taken << (7 - (place & 7)));
        left -= taken;
    }
}

template std::int64_t choose_highest<float>(std::span<const Stretch<float>>, std::int64_t, bool);
template std::int64_t choose_highest<double>(std::span<const Stretch<double>>, std::int64_t, bool);
template bool choose_highest_of_each<float>(const Stretch<float>&, const std::int64_t*, const std::int64_t*, std::int64_t);
template bool choose_highest_of_each<double>(const Stretch<double>&, const std::int64_t*, const std::int64_t*, std::int64_t);
template void fill_where<float>(const std::uint8_t*, const std::uint8_t*, std::int64_t, float*, float);
template void fill_where<double>(const std::uint8_t*, const std::uint8_t*, std::int64_t, double*, double);
template double magnitude_where<float>(const std::uint8_t*, std::int64_t, const float*);
template double magnitude_where<double>(const std::uint8_t*, std::int64_t, const double*);

}  // namespace secateur
