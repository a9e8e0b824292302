#include "selection.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <tuple>
#include <type_traits>

#include "primitives.h"

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

namespace {

constexpr std::int64_t few = 1 << 14;      // so many places are searched as they are
constexpr std::int64_t sampled = 1 << 12;  // of more, so many numbers tell where to search
constexpr double deviations = 3.5;         // by which the search reaches beyond what they say
constexpr std::int64_t chunk = 1 << 13;    // places scanned before room for what is found is looked for

const SelectionInstructions& instructions() {
    static const SelectionInstructions& set = []() -> const SelectionInstructions& {
#if defined(__x86_64__)
        if (!std::strcmp(instruction_set(), "avx512")) return avx512::selection;
        if (!std::strcmp(instruction_set(), "avx2")) return avx2::selection;
#endif
        return baseline::selection;
    }();
    return set;
}

template <class T>
const SelectionLoops<T>& loops() {
    if constexpr (std::is_same_v<T, float>)
        return instructions().single;
    else
        return instructions().twofold;
}

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();

template <class T>
using Bits = std::conditional_t<std::is_same_v<T, float>, std::uint32_t, std::uint64_t>;

// Whole numbers in the order of the floating-point ones.
template <class T>
Bits<T> place_of(T value) {
    constexpr Bits<T> sign = Bits<T>(1) << (8 * sizeof(T) - 1);
    const auto bits = std::bit_cast<Bits<T>>(value);
    return bits & sign ? Bits<T>(~bits) : Bits<T>(bits | sign);
}

template <class T>
T value_at(Bits<T> place) {
    constexpr Bits<T> sign = Bits<T>(1) << (8 * sizeof(T) - 1);
    return std::bit_cast<T>(place & sign ? Bits<T>(place & ~sign) : Bits<T>(~place));
}

// The number of rank `rank` (1 the highest) of numbers that lie in [low, high], by bisection of the bits.
template <class T>
T of_rank(const T* values, std::int64_t size, std::int64_t rank, T low, T high) {
    Bits<T> from = place_of(low), to = place_of(high);
    while (from < to) {  // at least `rank` numbers are at `from` or above it, fewer above `to`
        const Bits<T> middle = from + (to - from) / 2 + 1;
        if (loops<T>().count_from(values, size, value_at<T>(middle)) >= rank)
            from = middle;
        else
            to = middle - 1;
    }
    return value_at<T>(from);
}

template <class T>
class Found {
  public:
    Found(std::int64_t expected, bool with_places) : room_(expected + chunk + 64), with_places_(with_places) {
        scores_.reset(new T[std::size_t(room_)]);
        if (with_places_) places_.reset(new std::uint32_t[std::size_t(room_)]);
    }
    // Where the next candidates go: there is room for a chunk.
    Collected<T> end() {
        if (room_ < collected + chunk + 64) {
            enlarge(scores_);
            if (with_places_) enlarge(places_);
            room_ *= 2;
        }
        return {scores_.get() + collected, with_places_ ? places_.get() + collected : nullptr};
    }
    // The scores found, and behind them such as lie below all bounds, so that they may be read 64 at a time.
    const T* padded() {
        std::fill_n(end().scores, 64, -infinity<T>);
        return scores_.get();
    }
    const std::uint32_t* places() const { return places_.get(); }
    std::int64_t collected = 0, above = 0, first_odd = -1;
    std::vector<std::int64_t> ends;  // of each stretch, among what was collected

  private:
    template <class N>
    void enlarge(std::unique_ptr<N[]>& numbers) {
        std::unique_ptr<N[]> larger(new N[std::size_t(2 * room_)]);
        std::memcpy(larger.get(), numbers.get(), std::size_t(collected) * sizeof(N));
        numbers = std::move(larger);
    }
    std::int64_t room_;
    bool with_places_;
    std::unique_ptr<T[]> scores_;
    std::unique_ptr<std::uint32_t[]> places_;
};

// Candidates of all stretches in [low, high], and how many lie above.
template <class T>
Found<T> scan(const std::vector<Stretch<T>>& stretches, bool magnitude, T low, T high, std::int64_t expected, bool with_places) {
    Found<T> found(expected, with_places);
    for (std::size_t number = 0; number < stretches.size(); ++number) {
        const Stretch<T>& stretch = stretches[number];
        for (std::int64_t begin = stretch.begin; begin < stretch.end; begin += chunk) {
            const std::int64_t end = std::min(stretch.end, begin + chunk);
            const bool finite = loops<T>().scan(stretch, begin, end, magnitude, low, high, found.end(), &found.collected, &found.above);
            if (!finite && found.first_odd < 0) found.first_odd = std::int64_t(number);
        }
        found.ends.push_back(found.collected);
    }
    return found;
}

void set_bit(std::uint8_t* bits, std::int64_t place) { bits[place >> 3] |= std::uint8_t(128 >> (place & 7)); }

// Sets the bits of what was collected above the threshold, and of the first `ties` that equal it.
template <class T>
void settle(const std::vector<Stretch<T>>& stretches, Found<T>& found, T threshold, std::int64_t ties) {
    const T* scores = found.padded();
    std::vector<std::uint32_t> equal;
    std::int64_t i = 0;
    for (std::size_t number = 0; number < stretches.size(); ++number) {
        const Stretch<T>& stretch = stretches[number];
        equal.clear();
        for (; i < found.ends[number]; ++i) {
            if (scores[i] > threshold) set_bit(stretch.chosen, stretch.begin + found.places()[i]);
            if (scores[i] == threshold && ties > 0) equal.push_back(found.places()[i]);
        }
        for (std::size_t k = 1; k < equal.size(); ++k)  // nearly sorted: only within a group they are not
            for (std::size_t j = k; j > 0 && equal[j] < equal[j - 1]; --j) std::swap(equal[j], equal[j - 1]);
        for (std::size_t k = 0; k < equal.size() && ties > 0; ++k, --ties) set_bit(stretch.chosen, stretch.begin + equal[k]);
    }
}

// Where the candidate that `share` of them do not rank below lies in all likelihood: numbers at scattered, fixed places tell.
template <class T>
std::pair<T, T> bracket(const std::vector<Stretch<T>>& stretches, bool magnitude, std::int64_t places, double share) {
    std::unique_ptr<T[]> drawn(new T[sampled + 64]);
    std::uint64_t state = 0x9e3779b97f4a7c15u;
    std::int64_t size = 0, before = 0;
    std::size_t number = 0;
    for (std::int64_t i = 0; i < sampled; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const std::int64_t step = places / sampled, place = i * step + std::int64_t((state >> 33) % std::uint64_t(step));
        while (place - before >= stretches[number].end - stretches[number].begin) {
            before += stretches[number].end - stretches[number].begin;
            ++number;
        }
        const Stretch<T>& stretch = stretches[number];
        const std::int64_t at = stretch.begin + place - before;
        drawn[std::size_t(size)] = magnitude ? std::abs(stretch.scores[at]) : stretch.scores[at];
        size += (stretch.candidates[at >> 3] >> (7 - (at & 7)) & 1) && std::isfinite(stretch.scores[at]);
    }
    if (size < sampled / 64) return {-infinity<T>, infinity<T>};
    const double rank = share * double(size), spread = deviations * std::sqrt(rank * (1 - share)) + 1;
    std::fill_n(drawn.get() + size, 64, -infinity<T>);
    const double upper = rank - spread, lower = rank + spread + 1;
    return {lower > double(size) ? -infinity<T> : of_rank(drawn.get(), size, std::int64_t(lower), -infinity<T>, infinity<T>),
            upper < 1 ? infinity<T> : of_rank(drawn.get(), size, std::int64_t(upper), -infinity<T>, infinity<T>)};
}

}  // namespace

std::int64_t count_set(const std::uint8_t* bits, std::int64_t begin, std::int64_t end) {
    std::int64_t count = 0, i = begin;
    const auto one = [&] { count += bits[i >> 3] >> (7 - (i & 7)) & 1; };
    for (; i < end && (i & 7); ++i) one();
    for (; i + 64 <= end; i += 64) {
        std::uint64_t word;
        std::memcpy(&word, bits + (i >> 3), 8);
        count += std::popcount(word);
    }
    for (; i < end; ++i) one();
    return count;
}

template <class T>
std::int64_t choose_highest(const std::vector<Stretch<T>>& stretches, std::int64_t count, bool magnitude) {
    std::int64_t candidates = 0, places = 0;
    bool addressable = true;
    for (const Stretch<T>& stretch : stretches) {
        candidates += count_set(stretch.candidates, stretch.begin, stretch.end);
        places += stretch.end - stretch.begin;
        addressable &= stretch.end - stretch.begin <= std::int64_t(1) << 32;
    }
    const bool none = count <= 0, all = !none && count >= candidates;
    // Of many, the scan that collects marks too, and memory is read once.
    const bool once = !none && !all && places > few && addressable;
    T low = -infinity<T>, high = infinity<T>;
    if (none || all)
        std::swap(low, high);  // nothing is to be found
    else if (places > few)
        std::tie(low, high) = bracket(stretches, magnitude, places, double(count) / double(candidates));
    Found<T> found = scan(stretches, magnitude, low, high, places > few ? candidates / 8 : candidates, once);
    const std::int64_t odd = found.first_odd;
    T threshold = none ? infinity<T> : -infinity<T>;
    std::int64_t ties = none ? 0 : candidates;
    if (!none && !all) {
        if (found.above >= count) {  // the drawn numbers misled: it lies above
            low = high, high = infinity<T>;
            found = scan(stretches, magnitude, low, high, candidates, once);
        } else if (found.above + found.collected < count) {  // or below
            high = low, low = -infinity<T>;
            found = scan(stretches, magnitude, low, high, candidates, once);
        }
        ties = count - found.above;
        if (ties > found.collected) return odd;  // some candidates are no numbers
        const T* scores = found.padded();
        threshold = of_rank(scores, found.collected, ties, low, high);
        if (threshold < infinity<T>) ties -= loops<T>().count_from(scores, found.collected, value_at<T>(place_of(threshold) + 1));
    }
    if (once)
        settle(stretches, found, threshold, ties);
    else
        for (const Stretch<T>& stretch : stretches) loops<T>().mark(stretch, magnitude, threshold, &ties);
    return odd;
}

namespace {

// Words of 64 bits, the first place highest; zero behind the last byte.
std::uint64_t word_at(const std::uint8_t* bits, std::int64_t first, std::int64_t bytes) {
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < 8; ++i) word = word << 8 | (first + i < bytes ? bits[first + i] : 0);
    return word;
}

// `found(place)` for each bit that is set in `bits` and not in `except`; before a word's bits, `before(its first place)`.
template <class B, class F>
void for_each_set(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, B&& before, F&& found) {
    const std::int64_t bytes = (size + 7) / 8;
    for (std::int64_t first = 0; first < bytes; first += 8) {
        before(8 * first);
        std::uint64_t left = word_at(bits, first, bytes);
        if (except) left &= ~word_at(except, first, bytes);
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
    // All lines some way ahead are fetched, which is quicker than those alone that change.
    const auto fetch = [&](std::int64_t place) {
        for (std::int64_t i = place + 256; i < place + 320; i += 16) __builtin_prefetch(values + i, 1);
    };
    for_each_set(bits, except, size, fetch, [&](std::int64_t i) { values[i] = value; });
}

template <class T>
double magnitude_where(const std::uint8_t* bits, std::int64_t size, const T* values) {
    double sum = 0;
    for_each_set(bits, nullptr, size, [](std::int64_t) {}, [&](std::int64_t i) { sum += std::abs(double(values[i])); });
    return sum;
}

void choose_at_random(const std::uint8_t* candidates, std::uint8_t* chosen, std::int64_t size, std::int64_t count, std::uint64_t seed) {
    const std::int64_t available = count_set(candidates, 0, size);
    count = std::clamp(count, std::int64_t(0), available);
    const bool leaves = count > available / 2;  // then those are drawn that are left out
    if (leaves) std::memcpy(chosen, candidates, std::size_t((size + 7) / 8));
    std::vector<std::int64_t> listed;  // where candidates are rare, their places; else places are drawn until one is a candidate
    if (available < size / 16) {
        listed.reserve(std::size_t(available));
        for_each_set(candidates, nullptr, size, [](std::int64_t) {}, [&](std::int64_t i) { listed.push_back(i); });
    }
    const auto bound = std::uint64_t(listed.empty() ? size : available);
    const auto is_set = [](const std::uint8_t* bits, std::int64_t i) { return bool(bits[i >> 3] >> (7 - (i & 7)) & 1); };
    for (std::int64_t left = leaves ? available - count : count; left > 0;) {
        // splitmix64 (Steele et al. 2014), and Lemire's (2019) unbiased way into [0, bound)
        std::uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        const unsigned __int128 wide = static_cast<unsigned __int128>(z) * bound;
        if (std::uint64_t(wide) < -bound % bound) continue;
        const auto drawn = std::int64_t(wide >> 64);
        const std::int64_t place = listed.empty() ? drawn : listed[std::size_t(drawn)];
        if (!is_set(candidates, place) || is_set(chosen, place) == !leaves) continue;
        chosen[place >> 3] ^= std::uint8_t(128 >> (place & 7));
        --left;
    }
}

template std::int64_t choose_highest<float>(const std::vector<Stretch<float>>&, std::int64_t, bool);
template std::int64_t choose_highest<double>(const std::vector<Stretch<double>>&, std::int64_t, bool);
template void fill_where<float>(const std::uint8_t*, const std::uint8_t*, std::int64_t, float*, float);
template void fill_where<double>(const std::uint8_t*, const std::uint8_t*, std::int64_t, double*, double);
template double magnitude_where<float>(const std::uint8_t*, std::int64_t, const float*);
template double magnitude_where<double>(const std::uint8_t*, std::int64_t, const double*);

}  // namespace secateur
