// The highest of many scores, to an exact count: what a mask keeps. Masks are packed bits, the first of a byte its highest.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace secateur {

// Numbers that compete: positions [begin, end) of `scores` whose bit in `candidates` is set. The chosen ones' bits are set in
// `chosen`; other bits stay as they are. Stretches of one array may share a byte.
template <class T>
struct Stretch {
    const T* scores;
    const std::uint8_t* candidates;
    std::uint8_t* chosen;
    std::int64_t begin, end;
};

// Choose min(count, candidates) of the candidates of all stretches, those of highest score (of highest |score| if `magnitude`); of equal
// ones those of the earlier stretch and the lower position. Returns the number of the first stretch that has a candidate without a
// finite score, else -1; such candidates may be left out.
template <class T>
std::int64_t choose_highest(std::span<const Stretch<T>> stretches, std::int64_t count, bool magnitude);

// Choose min(count, candidates) of the candidates in [0, size), each set of so many with the same chance; `seed` decides.
void choose_at_random(const std::uint8_t* candidates, std::uint8_t* chosen, std::int64_t size, std::int64_t count, std::uint64_t seed);

// A layer of which some weights are dropped and others grown. Into `weights.chosen` go the `stay` candidates of largest |weight|, and of
// all `prunable` weights (null: all) but those some that grow: of largest |growth|, or, where that is null, drawn at random.
template <class T>
struct Renewal {
    Stretch<T> weights;  // a whole layer: begins at 0
    const T* growth;
    const std::uint8_t* prunable;
    std::int64_t stay;
};

// So many grow.
template <class T>
void renew(const Renewal<T>& layer, std::int64_t grow, std::uint64_t seed);

// How many grow in each layer, given the sum of |growth| of its candidates: no more than it has room for.
using Shares = std::function<std::vector<std::int64_t>(const std::vector<double>& magnitudes)>;

// The same for layers, all with growth, that share what grows. `shares`, a pure function, is asked with estimates first.
template <class T>
void renew_by_shares(std::span<const Renewal<T>> layers, const Shares& shares);

// How many of the bits [begin, end) are set.
std::int64_t count_set(const std::uint8_t* bits, std::int64_t begin, std::int64_t end);

// values[i] = value wherever bit i is set, but for those where it is set in `except` (null: in none) too.
template <class T>
void fill_where(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value);

// The sum of |values[i]| over the bits set.
template <class T>
double magnitude_where(const std::uint8_t* bits, std::int64_t size, const T* values);

// As `choose_highest`, of whole layers (stretches that begin at 0) that compete by LAMP (Lee et al. 2021): a score's square over the sum of
// squares of the candidates of its layer that rank no lower, in double precision. False, and nothing is chosen, where a candidate's score
// is negative (-0 is) or not finite, or a layer has more than 2^32 places.
bool choose_by_lamp(std::span<const Stretch<float>> layers, std::int64_t count);

// Choose counts[i] candidates of each run of one stretch, as if it stood alone; run i ends before ends[i], the first begins at `begin`.
// Whether all candidates are finite.
template <class T>
bool choose_highest_of_each(const Stretch<T>& whole, const std::int64_t* ends, const std::int64_t* counts, std::int64_t runs);

// Candidates that a scan found: their scores and, unless `places` is null, where they lie behind the stretch's begin. Room for one a position
// scanned and 16 more.
template <class T>
struct Collected {
    T* scores;
    std::uint32_t* places;
};

// What a scan adds to sixteen sums, a number at place i to that of i % 16: the squares of candidates above its range (scores are floats and
// no magnitudes, places are found, and a candidate below zero, or -0, counts as not finite), or, unless `of` is null, |score| wherever
// bits are set there (scores are magnitudes, places are found).
struct Sums {
    double* sums = nullptr;  // null: nothing
    const std::uint8_t* of = nullptr;
};

// The loops over memory, one set for each instruction set.
template <class T>
struct SelectionLoops {
    // Of the candidates in [begin, end): how many lie above `high`; those in [low, high] are collected. Where places are, the bits of
    // those above are set, all others' cleared. False where one is not finite.
    bool (*scan)(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, bool magnitude, T low, T high, Collected<T> found,
                 std::int64_t* collected, std::int64_t* above, const Sums& sums);
    // Sets the bits of candidates above the threshold, and of the first `ties` that equal it, which are counted down.
    void (*mark)(const Stretch<T>& stretch, bool magnitude, T threshold, std::int64_t* ties);
    // The same for so many candidates that a scan found, whose places are overwritten.
    void (*settle)(const Stretch<T>& stretch, const Collected<T>& found, std::int64_t size, T threshold, std::int64_t* ties);
    // The number of rank `rank` (1 the highest, at most `size`) of numbers that lie in [low, high], and how many lie `above` it. Behind the
    // last there are 64 of -infinity.
    T (*of_rank)(const T* values, std::int64_t size, std::int64_t rank, T low, T high, std::int64_t* above);
    // As `fill_where` and `magnitude_where`.
    void (*fill)(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value);
    double (*magnitude)(const std::uint8_t* bits, std::int64_t size, const T* values);
};

struct SelectionInstructions {
    SelectionLoops<float> single;
    SelectionLoops<double> twofold;
    // How many bits of so many words of eight bytes are set.
    std::int64_t (*count)(const std::uint8_t* bits, std::int64_t words);
};

}  // namespace secateur
