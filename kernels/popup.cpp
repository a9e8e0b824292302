#include "popup.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "parallel.h"
#include "tiling.h"

namespace secateur {
namespace {

constexpr std::int64_t chunk = 1 << 12;  // places whose loop fills one room for what is near
constexpr std::int64_t few = 1 << 14;    // of so many, all may lie in the bracket at first

struct Walked {
    std::vector<std::int64_t> places;  // in order
    std::int64_t above = 0;
};

// Calls walk(begin, end, near) for chunks of [0, size), shared among threads.
template <class F>
Walked walked(std::int64_t size, int threads, F&& walk) {
    const int wanted = threads_for(size, threads);
    std::vector<Walked> shares(static_cast<std::size_t>(wanted));
    parallel(wanted, [&](Team& team) {
        Walked& mine = shares[std::size_t(team.rank())];
        std::int64_t room[chunk], first, last;
        team.share((size + chunk - 1) / chunk, first, last);
        for (; first < last; ++first) {
            Near near{room, 0, 0};
            walk(first * chunk, std::min(size, (first + 1) * chunk), near);
            mine.places.insert(mine.places.end(), room, room + near.found);
            mine.above += near.above;
        }
    });
    for (std::size_t i = 1; i < shares.size(); ++i) {
        shares[0].places.insert(shares[0].places.end(), shares[i].places.begin(), shares[i].places.end());
        shares[0].above += shares[i].above;
    }
    return std::move(shares[0]);
}

// The number of rank `rank`, 1 the highest.
template <class T>
T of_rank(std::vector<T>& values, std::int64_t rank) {
    const auto place = values.begin() + (rank - 1);
    std::nth_element(values.begin(), place, values.end(), std::greater<>());
    return *place;
}

template <class T>
std::int64_t above(const std::vector<T>& values, T bound) {
    return std::count_if(values.begin(), values.end(), [=](T value) { return value > bound; });
}

// Writes what is used at `places`, which hold all that is near, and narrows the bracket if much is; false if the threshold does not lie in it.
template <class T>
bool settle(const Popup<T>& p, const std::vector<std::int64_t>& places, Bracket<T>& bracket) {
    std::vector<T> within;
    for (const std::int64_t place : places) {
        const T magnitude = std::abs(p.scores[place]);
        if (magnitude >= bracket.low && magnitude <= bracket.high) within.push_back(magnitude);
    }
    const auto all = std::int64_t(within.size()), rank = p.count - bracket.above;
    if (rank < 0 || rank > all) return false;
    const T threshold = rank ? of_rank(within, rank) : bracket.high;
    std::int64_t ties = rank ? rank - above(within, threshold) : 0;
    for (const std::int64_t place : places) {
        const T magnitude = std::abs(p.scores[place]);
        const bool kept = magnitude > threshold || (magnitude == threshold && ties-- > 0);
        p.used[place] = kept ? p.weights[place] : T(0);
    }
    if (const std::int64_t reach = p.size / 2048 + 8; all > 4 * reach) {
        const T low = of_rank(within, std::min(all, rank + reach)), high = rank > reach ? of_rank(within, rank - reach) : bracket.high;
        bracket = {low, high, bracket.above + above(within, high)};
    }
    return true;
}

// Where the threshold lies in all likelihood: numbers at scattered, fixed places tell.
template <class T>
Bracket<T> sampled(const Popup<T>& p) {
    constexpr std::int64_t draws = 1 << 12;
    std::vector<T> drawn;
    std::uint64_t state = 0;
    for (std::int64_t i = 0; i < draws; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const auto place = std::int64_t((state >> 33) % std::uint64_t(p.size));
        const bool candidate = !p.candidates || p.candidates[place >> 3] >> (7 - (place & 7)) & 1;
        if (candidate && std::isfinite(p.scores[place])) drawn.push_back(std::abs(p.scores[place]));
    }
    std::int64_t candidates = p.size;
    if (p.candidates) {
        candidates = 0;
        for (std::int64_t i = 0; i < (p.size + 7) / 8; ++i) candidates += __builtin_popcount(p.candidates[i]);
    }
    const double share = double(p.count) / double(std::max<std::int64_t>(candidates, 1)), size = double(drawn.size());
    const double rank = share * size, spread = 3 * std::sqrt(rank * std::max(0.0, 1 - share)) + 1;
    return {rank + spread + 1 > size ? T(-1) : of_rank(drawn, std::int64_t(rank + spread + 1)),
            rank - spread < 1 ? std::numeric_limits<T>::infinity() : of_rank(drawn, std::int64_t(rank - spread)), 0};
}

}  // namespace

template <class T>
Bracket<T> popup_choose(const Popup<T>& p, const Bracket<T>& guess, int threads) {
    const Bracket<T> everything{T(-1), std::numeric_limits<T>::infinity(), 0};
    const auto found = [&](Bracket<T>& bracket) {
        const Walked near = walked(p.size, threads, [&](std::int64_t begin, std::int64_t end, Near& of) { primitives<T>().popup_choose(p, bracket, begin, end, of); });
        bracket.above = near.above;
        return settle(p, near.places, bracket);
    };
    Bracket<T> bracket = guess;
    if (found(bracket)) return bracket;
    bracket = p.size > few ? sampled(p) : everything;
    if (found(bracket)) return bracket;
    bracket = everything;
    found(bracket);  // if not even here, some scores are no numbers, and nothing is used
    return bracket;
}

template <class T>
Bracket<T> popup_step(const Popup<T>& p, const PopupStep<T>& step, const Bracket<T>& before, int threads) {
    Bracket<T> bracket = before;
    const Walked near = walked(p.size, threads, [&](std::int64_t begin, std::int64_t end, Near& of) { primitives<T>().popup_step(p, step, before, begin, end, of); });
    bracket.above += near.above;
    if (!p.used || settle(p, near.places, bracket)) return bracket;
    return popup_choose(p, p.size > few ? sampled(p) : before, threads);
}

template Bracket<float> popup_choose<float>(const Popup<float>&, const Bracket<float>&, int);
template Bracket<double> popup_choose<double>(const Popup<double>&, const Bracket<double>&, int);
template Bracket<float> popup_step<float>(const Popup<float>&, const PopupStep<float>&, const Bracket<float>&, int);
template Bracket<double> popup_step<double>(const Popup<double>&, const PopupStep<double>&, const Bracket<double>&, int);

}  // namespace secateur
