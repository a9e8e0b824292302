// The choice by LAMP's scores without sorting: numbers from scattered places tell in which range of each layer the cut lies in all
// likelihood; one scan marks what lies above it, sums its squares and collects what lies within; only those next to the cut are ranked.
#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "scan.h"

namespace secateur {
namespace {

constexpr double rounding = 1e-9;       // bounds are this much wider than they come out
constexpr std::int64_t sparsely = 128;  // of so many places one is drawn,
constexpr std::int64_t at_least = 512;  // but so many of a layer at least
constexpr std::int64_t too_few = 32;    // candidates among them say nothing

// Numbers of a layer that lie close together, [low, high]; `count`, `squares`: of them and of all above in the layer.
struct Bucket {
    float low, high;
    std::int64_t count;
    double squares;
    double least, most;  // bounds of their scores, wide enough for rounding
};

// A layer, or what was drawn of it: its numbers, highest first, each of which stands for `weight`.
struct Ranked {
    std::vector<Bucket> buckets;
    double weight;
};

// Non-negative numbers by their size, of which all above have this sum of squares.
std::vector<Bucket> buckets_of(const float* numbers, std::int64_t size, double squares_above) {
    constexpr std::uint32_t buckets = 2048;
    constexpr int coarsest = 15;  // numbers of a bucket lie within a 256th of one another, but for the smallest of all in the last one
    struct Sum {
        double squares;
        std::int64_t count;
    };
    const auto bits_of = [](float number) { return std::bit_cast<std::int32_t>(number); };  // in the order of numbers
    if (!size) return {};
    std::int32_t lowest = bits_of(numbers[0]), highest = lowest;
    for (std::int64_t i = 0; i < size; ++i) lowest = std::min(lowest, bits_of(numbers[i])), highest = std::max(highest, bits_of(numbers[i]));
    const auto bottom = std::uint32_t(lowest), top = std::uint32_t(highest);
    int shift = 0;
    while (shift < coarsest && (top - bottom) >> shift >= buckets) ++shift;
    std::vector<Sum> sums(std::min((top - bottom) >> shift, buckets - 1) + 1);
    Sum* __restrict into = sums.data();
    for (std::int64_t i = 0; i < size; ++i) {
        Sum& sum = into[std::min((top - std::uint32_t(bits_of(numbers[i]))) >> shift, buckets - 1)];
        sum.squares += double(numbers[i]) * double(numbers[i]);
        ++sum.count;
    }
    std::vector<Bucket> filled;
    std::int64_t count = 0;
    double above = squares_above;
    for (std::uint32_t number = 0; number < sums.size(); ++number) {
        if (!sums[number].count) continue;
        const std::uint32_t first = top - (number << shift), last = number + 1 < sums.size() ? first - ((1u << shift) - 1) : bottom;
        const double low = std::bit_cast<float>(last), high = std::bit_cast<float>(first), all = above + sums[number].squares;
        const double least = all > 0 ? low * low / all : 0, most = above + high * high > 0 ? high * high / (above + high * high) : 0;
        count += sums[number].count;
        filled.push_back({float(low), float(high), count, all, least * (1 - rounding), most * (1 + rounding)});
        above = all;
    }
    return filled;
}

// How many candidates there are if each bucket's numbers have the score `bound`: of those of this score or a higher one.
double from(const Ranked& layer, double Bucket::* bound, double score) {
    const auto end = std::partition_point(layer.buckets.begin(), layer.buckets.end(), [&](const Bucket& bucket) { return bucket.*bound >= score; });
    return end == layer.buckets.begin() ? 0 : layer.weight * double(end[-1].count);
}

// The score that so many have, or a higher one; infinite where none have it, 0 where there are fewer.
double of_rank(const std::vector<Ranked>& layers, double Bucket::* bound, double count) {
    if (count <= 0) return infinity<double>;
    std::uint64_t low = 0, high = std::bit_cast<std::uint64_t>(2.0);  // in the order of scores: enough have the lower one
    while (high - low > 1) {
        const std::uint64_t middle = low + (high - low) / 2;
        double numbers = 0;
        for (const Ranked& layer : layers) numbers += from(layer, bound, std::bit_cast<double>(middle));
        (numbers >= count ? low : high) = middle;
    }
    return std::bit_cast<double>(low);
}

// Between which numbers, themselves left out, a layer's scores may lie in [least, most].
struct Range {
    float below, above;
};

Range range_of(const std::vector<Bucket>& buckets, double least, double most) {
    const auto first = std::partition_point(buckets.begin(), buckets.end(), [&](const Bucket& bucket) { return bucket.least > most; });
    const auto last = std::partition_point(first, buckets.end(), [&](const Bucket& bucket) { return bucket.most >= least; });
    return {last == buckets.end() ? -1.0f : last->high, first == buckets.begin() ? infinity<float> : first[-1].low};
}

constexpr Range everything{-1.0f, infinity<float>};

// The relative deviation of the sum of squares down to a score, as far as what was drawn tells.
double deviation(const Ranked& layer, double score) {
    double squares = 0, fourth = 0;
    std::int64_t count = 0;
    for (const Bucket& bucket : layer.buckets) {
        if (bucket.most < score) break;
        const double its = bucket.squares - squares;
        fourth += its * its / double(bucket.count - count);
        squares = bucket.squares, count = bucket.count;
    }
    return squares > 0 ? std::sqrt(fourth) / squares : 0;
}

// In which range of each layer the candidate of rank `count` lies in all likelihood.
std::vector<Range> ranges_of(std::span<const Stretch<float>> layers, const std::vector<std::int64_t>& candidates, std::int64_t count) {
    std::vector<Ranked> drawn;
    std::vector<float> numbers;
    for (std::size_t number = 0; number < layers.size(); ++number) {
        const std::int64_t places = std::min(layers[number].end, std::max(at_least, layers[number].end / sparsely));
        numbers.resize(std::size_t(places) + 1);
        const std::int64_t size = draw(layers[number], places, false, numbers.data());
        for (std::int64_t i = 0; i < size; ++i) numbers[std::size_t(i)] = std::abs(numbers[std::size_t(i)]);
        const double weight = size ? double(candidates[number]) / double(size) : 0;
        drawn.push_back({buckets_of(numbers.data(), size, 0), weight});
        for (Bucket& bucket : drawn.back().buckets) bucket.least /= weight, bucket.most /= weight;
    }
    const double middle = of_rank(drawn, &Bucket::least, double(count));
    double variance = 0;
    for (std::size_t number = 0; number < layers.size(); ++number) {
        const double above = from(drawn[number], &Bucket::least, middle), below = double(candidates[number]) - above;
        if (below > 0) variance += drawn[number].weight * above * below / double(candidates[number]);
    }
    const double spread = deviations * std::sqrt(variance);
    const double least = of_rank(drawn, &Bucket::least, double(count) + spread), most = of_rank(drawn, &Bucket::most, double(count) - spread);
    std::vector<Range> ranges;
    for (const Ranked& layer : drawn) {
        const double wider = deviations * deviation(layer, middle);
        const bool tells = !layer.buckets.empty() && layer.buckets.back().count >= too_few;
        ranges.push_back(tells ? range_of(layer.buckets, least * (1 - wider), most * (1 + wider)) : everything);
    }
    return ranges;
}

enum class Outcome { chosen, misled, unsound };

// Chooses, if the cut lies within these ranges.
Outcome choose_within(std::span<const Stretch<float>> layers, const std::vector<std::int64_t>& candidates, std::int64_t count,
                      const std::vector<Range>& ranges) {
    struct Competitor {
        double score;
        std::size_t layer;
        std::int64_t place;
    };
    Found<float>& found = found_by_this_thread<float>();
    found.begin(true);
    std::vector<double> squares(layers.size());
    std::vector<std::int64_t> above(layers.size()), begins(layers.size() + 1);
    for (std::size_t number = 0; number < layers.size(); ++number) {
        double sums[16] = {};
        const std::int64_t before = found.above;
        if (!found.scan(layers[number], false, ranges[number].below, ranges[number].above, {sums})) return Outcome::unsound;
        for (const double sum : sums) squares[number] += sum;
        above[number] = found.above - before;
        begins[number + 1] = found.collected;
    }
    const float* scores = found.padded();
    std::vector<Ranked> ranked;
    for (std::size_t number = 0; number < layers.size(); ++number)
        ranked.push_back({buckets_of(scores + begins[number], begins[number + 1] - begins[number], squares[number]), 1});
    // Between these lies the score of the last one chosen.
    std::int64_t left = count - found.above;
    const double least = of_rank(ranked, &Bucket::least, double(left)), most = of_rank(ranked, &Bucket::most, double(left));
    for (std::size_t number = 0; number < layers.size(); ++number) {
        const double low = ranges[number].below, high = ranges[number].above;
        const double all = ranked[number].buckets.empty() ? squares[number] : ranked[number].buckets.back().squares;
        const bool some_below = candidates[number] > above[number] + begins[number + 1] - begins[number];
        if (above[number] && !(high * high / squares[number] * (1 - rounding) > most)) return Outcome::misled;
        if (some_below && !(low * low < least * (1 - rounding) * all)) return Outcome::misled;
    }
    std::vector<Competitor> competitors;
    std::vector<std::pair<float, std::int64_t>> close;
    for (std::size_t number = 0; number < layers.size(); ++number) {
        const auto& buckets = ranked[number].buckets;
        const auto [below, high] = range_of(buckets, least, most);
        std::uint8_t* __restrict chosen = layers[number].chosen;
        close.clear();
        double sum = squares[number];
        for (const Bucket& bucket : buckets)
            if (bucket.low >= high) sum = bucket.squares;
        for (std::int64_t i = begins[number]; i < begins[number + 1]; ++i) {
            const std::int64_t place = found.places()[i];
            chosen[place >> 3] |= std::uint8_t((scores[i] >= high) << (7 - (place & 7)));
            left -= scores[i] >= high;
            if (scores[i] > below && scores[i] < high) close.emplace_back(-scores[i], place);
        }
        std::sort(close.begin(), close.end());
        for (const auto& [negative, place] : close) {
            const double square = double(negative) * double(negative);
            sum += square;
            competitors.push_back({sum > 0 ? square / sum : 0, number, place});
        }
    }
    std::stable_sort(competitors.begin(), competitors.end(), [](const Competitor& a, const Competitor& b) { return a.score > b.score; });
    for (std::size_t i = 0; i < competitors.size() && std::int64_t(i) < left; ++i) {
        const Competitor& taken = competitors[i];
        layers[taken.layer].chosen[taken.place >> 3] |= std::uint8_t(128 >> (taken.place & 7));
    }
    return Outcome::chosen;
}

}  // namespace

bool choose_by_lamp(std::span<const Stretch<float>> layers, std::int64_t count) {
    std::vector<std::int64_t> candidates;
    std::int64_t places = 0;
    for (const Stretch<float>& layer : layers) {
        if (layer.end > addressable) return false;
        candidates.push_back(count_set(layer.candidates, 0, layer.end));
        places += layer.end;
    }
    const std::vector<Range> all(layers.size(), everything);
    Outcome outcome = choose_within(layers, candidates, count, places > few ? ranges_of(layers, candidates, count) : all);
    if (outcome == Outcome::misled) outcome = choose_within(layers, candidates, count, all);
    if (outcome == Outcome::chosen) return true;
    for (const Stretch<float>& layer : layers) std::fill_n(layer.chosen, (layer.end + 7) / 8, std::uint8_t(0));
    return false;
}

}  // namespace secateur
