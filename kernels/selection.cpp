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
    explicit Found(std::int64_t expected) : room_(expected + chunk + 64), values_(new T[std::size_t(room_)]) {}
    // Where the next numbers go: there is room for a chunk.
    T* end() {
        if (room_ < collected + chunk + 64) {
            std::unique_ptr<T[]> larger(new T[std::size_t(2 * room_)]);
            std::memcpy(larger.get(), values_.get(), std::size_t(collected) * sizeof(T));
            values_ = std::move(larger);
            room_ *= 2;
        }
        return values_.get() + collected;
    }
    // The numbers found, and behind them such as lie below all bounds, so that they may be read 64 at a time.
    const T* padded() {
        std::fill_n(end(), 64, -infinity<T>);
        return values_.get();
    }
    std::int64_t collected = 0, above = 0, first_odd = -1;

  private:
    std::int64_t room_;
    std::unique_ptr<T[]> values_;
};

// Candidates of all stretches in [low, high], and how many lie above.
template <class T>
Found<T> scan(const std::vector<Stretch<T>>& stretches, bool magnitude, T low, T high, std::int64_t expected) {
    Found<T> found(expected);
    for (std::size_t number = 0; number < stretches.size(); ++number) {
        const Stretch<T>& stretch = stretches[number];
        for (std::int64_t begin = stretch.begin; begin < stretch.end; begin += chunk) {
            const std::int64_t end = std::min(stretch.end, begin + chunk);
            const bool finite = loops<T>().scan(stretch, begin, end, magnitude, low, high, found.end(), &found.collected, &found.above);
            if (!finite && found.first_odd < 0) found.first_odd = std::int64_t(number);
        }
    }
    return found;
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
    for (const Stretch<T>& stretch : stretches) {
        candidates += count_set(stretch.candidates, stretch.begin, stretch.end);
        places += stretch.end - stretch.begin;
    }
    const bool none = count <= 0, all = !none && count >= candidates;
    T low = -infinity<T>, high = infinity<T>;
    if (none || all)
        std::swap(low, high);  // nothing is to be found
    else if (places > few)
        std::tie(low, high) = bracket(stretches, magnitude, places, double(count) / double(candidates));
    Found<T> found = scan(stretches, magnitude, low, high, places > few ? candidates / 8 : candidates);
    const std::int64_t odd = found.first_odd;
    T threshold = none ? infinity<T> : -infinity<T>;
    std::int64_t ties = none ? 0 : candidates;
    if (!none && !all) {
        if (found.above >= count) {  // the drawn numbers misled: it lies above
            low = high, high = infinity<T>;
            found = scan(stretches, magnitude, low, high, candidates);
        } else if (found.above + found.collected < count) {  // or below
            high = low, low = -infinity<T>;
            found = scan(stretches, magnitude, low, high, candidates);
        }
        ties = count - found.above;
        if (ties > found.collected) return odd;  // some candidates are no numbers
        const T* values = found.padded();
        threshold = of_rank(values, found.collected, ties, low, high);
        if (threshold < infinity<T>) ties -= loops<T>().count_from(values, found.collected, value_at<T>(place_of(threshold) + 1));
    }
    for (const Stretch<T>& stretch : stretches) loops<T>().mark(stretch, magnitude, threshold, &ties);
    return odd;
}

template <class T>
void fill_where(const std::uint8_t* bits, std::int64_t size, T* values, T value) {
    const std::int64_t bytes = (size + 7) / 8;
    constexpr std::int64_t ahead = 32;  // bytes of bits: all lines there are fetched, which is quicker than those alone that change
    for (std::int64_t first = 0; first < bytes; first += 8) {
        for (std::int64_t i = first + ahead; i < first + ahead + 8; i += 2) __builtin_prefetch(values + 8 * i, 1);
        std::uint64_t left = 0;  // the bits of 64 places, the first of them highest
        for (std::int64_t i = 0; i < 8; ++i) left = left << 8 | (first + i < bytes ? bits[first + i] : 0);
        while (left) {
            const int place = std::countl_zero(left);
            values[8 * first + place] = value;
            left &= ~(std::uint64_t(1) << (63 - place));
        }
    }
}

template std::int64_t choose_highest<float>(const std::vector<Stretch<float>>&, std::int64_t, bool);
template std::int64_t choose_highest<double>(const std::vector<Stretch<double>>&, std::int64_t, bool);
template void fill_where<float>(const std::uint8_t*, std::int64_t, float*, float);
template void fill_where<double>(const std::uint8_t*, std::int64_t, double*, double);

}  // namespace secateur
