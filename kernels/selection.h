// The highest of many scores, to an exact count: what a mask keeps. Masks are packed bits, the first of a byte its highest.
#pragma once

#include <cstdint>
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
std::int64_t choose_highest(const std::vector<Stretch<T>>& stretches, std::int64_t count, bool magnitude);

// Choose min(count, candidates) of the candidates in [0, size), each set of so many with the same chance; `seed` decides.
void choose_at_random(const std::uint8_t* candidates, std::uint8_t* chosen, std::int64_t size, std::int64_t count, std::uint64_t seed);

// How many of the bits [begin, end) are set.
std::int64_t count_set(const std::uint8_t* bits, std::int64_t begin, std::int64_t end);

// values[i] = value wherever bit i is set, but for those where it is set in `except` (null: in none) too.
template <class T>
void fill_where(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value);

// The sum of |values[i]| over the bits set.
template <class T>
double magnitude_where(const std::uint8_t* bits, std::int64_t size, const T* values);

// Candidates that a scan found: their scores and, unless `places` is null, where they lie behind the stretch's begin, those of one
// group of eight or sixteen in any order. Room for one a position scanned and 16 more.
template <class T>
struct Collected {
    T* scores;
    std::uint32_t* places;
};

// The loops over memory, one set for each instruction set.
template <class T>
struct SelectionLoops {
    // Of the candidates in [begin, end): how many lie above `high`; those in [low, high] are collected. Where places are, the bits of
    // those above are set, all others' cleared. False where one is not finite.
    bool (*scan)(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, bool magnitude, T low, T high, Collected<T> found,
                 std::int64_t* collected, std::int64_t* above);
    // Sets the bits of candidates above the threshold, and of the first `ties` that equal it, which are counted down.
    void (*mark)(const Stretch<T>& stretch, bool magnitude, T threshold, std::int64_t* ties);
    // How many numbers are at least `bound`, which is above -infinity. Behind the last there are 64 that are not.
    std::int64_t (*count_from)(const T* values, std::int64_t size, T bound);
};

struct SelectionInstructions {
    SelectionLoops<float> single;
    SelectionLoops<double> twofold;
};

}  // namespace secateur
