// The loops of a selection, for one instruction set. Groups of 8 or 16 numbers are compared at once, the first one's bit the lowest: masks,
// whose bits run the other way, are turned around a block at a time.
#pragma once

#include "flags.h"
#include "octets.h"
#include "selection.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

// So many numbers ahead are fetched: pages that no cache holds yet come twice as fast as when the processor looks ahead by itself.
inline constexpr std::int64_t ahead = 2048;

// Masks are turned around so many bits at a time, which stay near.
inline constexpr std::int64_t block = 1 << 12;

template <class T>
SECATEUR_INLINE T ranked(T score, bool magnitude) {
    return magnitude && score < 0 ? -score : score;
}

enum class Adds { nothing, squares, magnitudes };

template <class T, bool magnitude, bool places, Adds adds = Adds::nothing>
bool scan_as(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, T low, T high, Collected<T> found, std::int64_t* collected,
             std::int64_t* above, const Sums& into) {
    constexpr bool squares = adds == Adds::squares, magnitudes_of = adds == Adds::magnitudes;
    using G = Octets<T>;
    const T* __restrict scores = stretch.scores;
    const std::uint8_t* __restrict candidates = stretch.candidates;
    std::uint8_t* __restrict chosen = stretch.chosen;
    T* __restrict collected_scores = found.scores;
    std::uint32_t* __restrict collected_places = found.places;
    double* __restrict sums = into.sums;
    const std::uint8_t* __restrict summed = into.of;
    const std::int64_t origin = stretch.begin;
    std::int64_t count = 0, higher = 0, i = begin;
    bool odd = false;
    typename G::Odd odd_lanes;
    const auto one = [&] {
        const T score = ranked(scores[i], magnitude);
        const bool candidate = is_set(candidates, i), over = candidate && score > high;
        odd |= candidate && (!(score - score == 0) || (squares && __builtin_signbit(score)));
        higher += over;
        if constexpr (places) {
            std::uint8_t& byte = chosen[i >> 3];
            const auto bit = std::uint8_t(128 >> (i & 7));
            byte = std::uint8_t(over ? byte | bit : byte & ~bit);
        }
        if constexpr (squares)
            if (over) sums[i & 15] += double(score) * double(score);
        if constexpr (magnitudes_of)
            if (is_set(summed, i)) sums[i & 15] += double(score);
        if (candidate && score >= low && !over) {
            if constexpr (places)
                collected_places[count++] = std::uint32_t(i - origin);
            else
                collected_scores[count++] = score;
        }
    };
    for (; i < end && (i & (adds == Adds::nothing ? 7 : 15)); ++i) one();
    Vec<double, 8> lanes[2] = {};
    if constexpr (adds != Adds::nothing) lanes[0] = load<8>(sums), lanes[1] = load<8>(sums + 8);
    std::uint8_t set[block / 8], over_high[block / 8], of[block / 8];
    while (i + 16 <= end) {
        const std::int64_t size = end - i < block ? (end - i) / 16 * 16 : block;
        turn_bits(candidates + (i >> 3), size / 8, set);
        if constexpr (magnitudes_of) turn_bits(summed + (i >> 3), size / 8, of);
        for (std::int64_t k = 0; k < size; k += 16) {
            const T* __restrict from = scores + i + k;
            __builtin_prefetch(from + ahead);
            SECATEUR_UNROLL for (int j = 0; j < 16; j += G::width) {
                const auto bits = G::bits(set + (k + j) / 8);
                const G group = G::of(from + j, magnitude);
                const auto over = group.above(high, bits);
                const auto within = G::without(group.from(low, bits), over);
                if constexpr (!places) higher += __builtin_popcount(over);
                if constexpr (squares) {
                    odd_lanes.look_signed(group, bits);
                    G::add_squares(from + j, over, lanes + j / 8);
                } else {
                    odd_lanes.look(group, bits);
                }
                if constexpr (magnitudes_of) group.add_where(G::bits(of + (k + j) / 8), lanes + j / 8);
                if constexpr (places) {
                    G::put(over_high + (k + j) / 8, over);
                    count += G::append_places(collected_places + count, std::uint32_t(i + k + j - origin), within);
                } else {
                    count += group.append(collected_scores + count, within);
                }
            }
        }
        if constexpr (places) {
            higher += count_bits(over_high, size / 8);
            turn_bits(over_high, size / 8, chosen + (i >> 3));
        }
        i += size;
    }
    if constexpr (adds != Adds::nothing) store<8>(sums, lanes[0]), store<8>(sums + 8, lanes[1]);
    for (; i < end; ++i) one();
    if constexpr (places)  // these are near still: to pack them beside their places would take longer
        for (std::int64_t k = 0; k < count; ++k) collected_scores[k] = ranked(scores[origin + collected_places[k]], magnitude);
    *collected += count;
    *above += higher;
    return !odd && !odd_lanes.any();
}

template <class T>
bool scan(const Stretch<T>& stretch, std::int64_t begin, std::int64_t end, bool magnitude, T low, T high, Collected<T> found,
          std::int64_t* collected, std::int64_t* above, const Sums& sums) {
    auto as = found.places ? (magnitude ? scan_as<T, true, true> : scan_as<T, false, true>)
                           : (magnitude ? scan_as<T, true, false> : scan_as<T, false, false>);
    if (sums.of) as = scan_as<T, true, true, Adds::magnitudes>;
    if constexpr (sizeof(T) == sizeof(float))
        if (sums.sums && !sums.of) as = scan_as<T, false, true, Adds::squares>;
    return as(stretch, begin, end, low, high, found, collected, above, sums);
}

template <class T, bool magnitude>
void mark_as(const Stretch<T>& stretch, T threshold, std::int64_t* ties) {
    using G = Octets<T>;
    std::int64_t i = stretch.begin, left = *ties;
    const auto one = [&](std::int64_t at) {
        const T score = ranked(stretch.scores[at], magnitude);
        if (!is_set(stretch.candidates, at)) return;
        const bool tie = score == threshold && left > 0;
        left -= tie;
        if (tie || score > threshold) stretch.chosen[at >> 3] |= std::uint8_t(128 >> (at & 7));
    };
    for (; i < stretch.end && (i & 7); ++i) one(i);
    std::uint8_t set[block / 8], marks[block / 8];
    while (i + 16 <= stretch.end) {
        const std::int64_t size = stretch.end - i < block ? (stretch.end - i) / 16 * 16 : block;
        turn_bits(stretch.candidates + (i >> 3), size / 8, set);
        for (std::int64_t k = 0; k < size; k += G::width) {
            const auto bits = G::bits(set + k / 8);
            const G group = G::of(stretch.scores + i + k, magnitude);
            auto equal = group.equal(threshold, bits), marked = group.above(threshold, bits);
            for (; equal && left > 0; equal &= typename G::Bits(equal - 1), --left) marked |= equal & typename G::Bits(-equal);
            G::put(marks + k / 8, marked);
        }
        turn_bits(marks, size / 8, stretch.chosen + (i >> 3));
        i += size;
    }
    for (; i < stretch.end; ++i) one(i);
    *ties = left;
}

template <class T>
void mark(const Stretch<T>& stretch, bool magnitude, T threshold, std::int64_t* ties) {
    (magnitude ? mark_as<T, true> : mark_as<T, false>)(stretch, threshold, ties);
}

template <class T>
void settle(const Stretch<T>& stretch, const Collected<T>& found, std::int64_t size, T threshold, std::int64_t* ties) {
    using G = Octets<T>;
    const T* __restrict scores = found.scores;
    std::uint32_t* __restrict places = found.places;
    std::int64_t count = 0, left = *ties, i = 0;
    for (; i + G::width <= size; i += G::width) {
        constexpr auto all = typename G::Bits((1u << G::width) - 1);
        const G group = G::of(scores + i, false);
        auto equal = group.equal(threshold, all), set = group.above(threshold, all);
        for (; equal && left > 0; equal &= typename G::Bits(equal - 1), --left) set |= equal & typename G::Bits(-equal);
        count += G::pack(places + count, places + i, set);
    }
    for (; i < size; ++i) {
        const bool tie = scores[i] == threshold && left > 0;
        left -= tie;
        places[count] = places[i];
        count += tie || scores[i] > threshold;
    }
    *ties = left;
    std::uint8_t* __restrict chosen = stretch.chosen;
    for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t place = stretch.begin + places[k];
        chosen[place >> 3] |= std::uint8_t(128 >> (place & 7));
    }
}

template <class T>
SECATEUR_INLINE std::int64_t count_from(const T* values, std::int64_t size, T bound) {
    constexpr int W = widest<T>;
    std::int64_t count = 0;
    if (size <= 256) {  // to add up lanes would take longer
        using G = Octets<T>;
        constexpr auto all = typename G::Bits((1u << G::width) - 1);
        for (std::int64_t i = 0; i < size; i += G::width) count += __builtin_popcount(G::of(values + i, false).from(bound, all));
        return count;
    }
    // Comparisons are -1 where they hold. Their sums, as whole numbers of the same width, are emptied long before they overflow.
    for (std::int64_t i = 0; i < size;) {
        const std::int64_t stop = size - i < (std::int64_t(1) << 24) ? size : i + (std::int64_t(1) << 24);
        auto a = load<W>(values) >= broadcast<W>(bound);
        a -= a;
        auto b = a, c = a, d = a;
        for (; i < stop; i += 4 * W) {
            a -= load<W>(values + i) >= broadcast<W>(bound);
            b -= load<W>(values + i + W) >= broadcast<W>(bound);
            c -= load<W>(values + i + 2 * W) >= broadcast<W>(bound);
            d -= load<W>(values + i + 3 * W) >= broadcast<W>(bound);
        }
        a += b + c + d;
        for (int j = 0; j < W; ++j) count += a[j];
    }
    return count;
}

template <class T, class Bits = typename Places<T>::Bits>
SECATEUR_INLINE Bits place_of(T value) {
    constexpr Bits sign = Bits(1) << (8 * sizeof(T) - 1);
    const auto bits = __builtin_bit_cast(Bits, value);
    return bits & sign ? Bits(~bits) : Bits(bits | sign);
}

template <class T, class Bits = typename Places<T>::Bits>
SECATEUR_INLINE T value_at(Bits place) {
    constexpr Bits sign = Bits(1) << (8 * sizeof(T) - 1);
    return __builtin_bit_cast(T, place & sign ? Bits(place & ~sign) : Bits(~place));
}

// As `of_rank`, of so few that each is compared with all; behind the last there is a group of -infinity at least.
template <class T>
SECATEUR_INLINE T of_rank_among_few(const T* values, std::int64_t size, std::int64_t rank, std::int64_t* above) {
    using G = Octets<T>;
    constexpr auto all = typename G::Bits((1u << G::width) - 1);
    for (std::int64_t i = 0;; ++i) {
        std::int64_t higher = 0, at_least = 0;
        for (std::int64_t j = 0; j < size; j += G::width) {
            const G group = G::of(values + j, false);
            higher += __builtin_popcount(group.above(values[i], all));
            at_least += __builtin_popcount(group.from(values[i], all));
        }
        *above = higher;
        if (i + 1 == size || (higher < rank && rank <= at_least)) return values[i];
    }
}

template <class T>
T of_rank(const T* values, std::int64_t size, std::int64_t rank, T low, T high, std::int64_t* above) {
    using G = Octets<T>;
    constexpr std::int64_t few = 16;
    if (size <= few) return of_rank_among_few(values, size, rank, above);
    if (const T width = high - low; !(width - width == 0)) {  // bounds that say nothing: take the numbers' own
        constexpr int W = widest<T>;
        auto least = broadcast<W>(values[0]), most = least;
        std::int64_t i = 0;
        for (; i + W <= size; i += W) {
            const auto these = load<W>(values + i);
            least = these < least ? these : least;
            most = these > most ? these : most;
        }
        low = high = values[0];
        for (int j = 0; j < W; ++j) low = least[j] < low ? least[j] : low, high = most[j] > high ? most[j] : high;
        for (; i < size; ++i) low = values[i] < low ? values[i] : low, high = values[i] > high ? values[i] : high;
    }
    auto from = place_of(low), to = place_of(high);
    const auto top = to;
    // `rank` numbers or more lie at `from` or above it, fewer above `to`. Where the one looked for would be if they lay evenly, and the
    // middle of what is left, are tried in turn.
    std::int64_t at_from = size, over = 0;
    for (bool halve = false; from < to && at_from - over > few; halve = !halve) {
        auto place = from + (to - from) / 2 + 1;
        const T least = value_at<T>(from), most = value_at<T>(to);
        const T guess = least + (most - least) * (T(at_from - rank) / T(at_from - over));
        if (!halve && guess > least && guess <= most && guess - guess == 0) place = place_of(guess);
        const std::int64_t count = count_from(values, size, value_at<T>(place));
        if (count >= rank)
            from = place, at_from = count;
        else
            to = place - 1, over = count;
    }
    *above = over;
    if (from == to) return value_at<T>(from);
    T left[few + G::width];
    std::int64_t count = 0;
    const T least = value_at<T>(from), beyond = to == top ? T(0) : value_at<T>(to + 1);
    std::int64_t i = 0;
    for (; i + G::width <= size; i += G::width) {
        const G group = G::of(values + i, false);
        const auto all = typename G::Bits((1u << G::width) - 1), bits = group.from(least, all);
        count += group.append(left + count, to == top ? bits : G::without(bits, group.from(beyond, bits)));
    }
    for (; i < size; ++i)
        if (values[i] >= least && (to == top || !(values[i] >= beyond))) left[count++] = values[i];
    for (int j = 0; j < G::width; ++j) left[count + j] = -__builtin_inf();
    const T found = of_rank_among_few(left, count, rank - over, above);
    *above += over;
    return found;
}

template <class T>
void fill(const std::uint8_t* bits, const std::uint8_t* except, std::int64_t size, T* values, T value) {
    std::uint8_t set[flags_at_once], flags[flags_at_once];
    for (std::int64_t first = 0; first < size; first += flags_at_once) {
        const std::int64_t count = size - first < flags_at_once ? size - first : flags_at_once, bytes = (count + 7) / 8;
        std::uint8_t any = 0;
        for (std::int64_t i = 0; i < bytes; ++i) any |= set[i] = std::uint8_t(bits[first / 8 + i] & ~(except ? except[first / 8 + i] : 0));
        if (!any) continue;
        spread_bits(set, bytes, flags);
        T* __restrict to = values + first;
        for (std::int64_t i = 0; i < count; i += 64 / std::int64_t(sizeof(T))) __builtin_prefetch(to + ahead + i, 1);
        for (std::int64_t i = 0; i < count; ++i) to[i] = flags[i] ? value : to[i];
    }
}

// For each byte of a mask its bits, the highest first, as whole numbers without or with all bits set.
struct Spread {
    alignas(32) std::int32_t lanes[256][8];
    constexpr Spread() : lanes() {
        for (int byte = 0; byte < 256; ++byte)
            for (int i = 0; i < 8; ++i) lanes[byte][i] = byte >> (7 - i) & 1 ? -1 : 0;
    }
};
inline constexpr Spread spread{};

// The magnitudes of eight numbers where bits are set, else zero.
template <class T>
SECATEUR_INLINE Vec<double, 8> magnitudes(std::uint8_t bits, const T* from) {
    using Bits = Vec<typename Places<T>::Bits, 8>;
    const Bits set = __builtin_convertvector(load<8>(spread.lanes[bits]), Bits), positive = ~Bits{} >> 1;
    return __builtin_convertvector((Vec<T, 8>)((Bits)load<8>(from) & set & positive), Vec<double, 8>);
}

template <class T>
double magnitude(const std::uint8_t* bits, std::int64_t size, const T* values) {
    // Sixteen sums with every instruction set, so that they are the same.
    Vec<double, 8> sums[2] = {};
    std::int64_t i = 0;
    for (; i + 16 <= size; i += 16)
        SECATEUR_UNROLL for (int half = 0; half < 2; ++half) {
            __builtin_prefetch(values + i + 8 * half + ahead);
            sums[half] += magnitudes(bits[i / 8 + half], values + i + 8 * half);
        }
    for (; i < size; i += 8) {
        T last[8] = {};
        for (std::int64_t j = i; j < size && j < i + 8; ++j) last[j - i] = values[j];
        sums[i / 8 % 2] += magnitudes(bits[i / 8], last);
    }
    double sum = 0;
    for (const auto& each : sums)
        for (int j = 0; j < 8; ++j) sum += each[j];
    return sum;
}

inline std::int64_t count(const std::uint8_t* bits, std::int64_t words) { return count_bits(bits, 8 * words); }

template <class T>
constexpr SelectionLoops<T> selection_loops() {
    return {scan<T>, mark<T>, settle<T>, of_rank<T>, fill<T>, magnitude<T>};
}

extern const SelectionInstructions selection;
const SelectionInstructions selection{selection_loops<float>(), selection_loops<double>(), count};

}  // namespace secateur::SECATEUR_ISA
