#include "words.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "parallel.h"
#include "primitives.h"
#include "scratch.h"
#include "tiling.h"

namespace secateur {
namespace {

constexpr int kTile = 64;
constexpr std::int64_t kLook = 16;  // responses looked at together: mostly all are zero

// A response's gradient: the place of its window among all words, and the number.
template <class T>
struct Response {
    std::int64_t window;
    T gradient;
};

// Where each survivor's word and channel lie from the beginning of a window.
std::vector<std::int32_t> places_in_window(const Pattern& pattern, const WordsShape& shape) {
    std::vector<std::int32_t> of_column(std::size_t(pattern.columns())), places(std::size_t(pattern.survivors()));
    for (std::int64_t channel = 0; channel < shape.channels; ++channel)
        for (std::int64_t tap = 0; tap < shape.taps; ++tap)
            of_column[std::size_t(channel * shape.taps + tap)] = std::int32_t(tap * shape.channels + channel);
    for (std::size_t i = 0; i < places.size(); ++i) places[i] = of_column[std::size_t(pattern.column(i))];
    return places;
}

// The greatest of the numbers and the first place where it stands; of numbers of which some are NaN, the first NaN.
template <class T>
void maximum_of(const T* from, std::int64_t count, T& maximum, std::int32_t& place) {
    constexpr int lanes = 16;
    T best[lanes];
    for (int lane = 0; lane < lanes; ++lane) best[lane] = from[0];
    bool all_numbers = true;
    std::int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
        int odd = 0;
        for (int lane = 0; lane < lanes; ++lane) {
            const T value = from[i + lane];
            odd |= value != value;
            best[lane] = value > best[lane] ? value : best[lane];
        }
        all_numbers &= !odd;
    }
    for (; i < count; ++i) {
        all_numbers &= from[i] == from[i];
        best[0] = from[i] > best[0] ? from[i] : best[0];
    }
    maximum = best[0];
    for (int lane = 1; lane < lanes; ++lane) maximum = best[lane] > maximum ? best[lane] : maximum;
    for (i = 0; all_numbers ? from[i] != maximum : from[i] == from[i];) ++i;
    maximum = from[i];
    place = std::int32_t(i);
}

}  // namespace

template <class T>
void words_forward(const WordsForward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const WordsShape& shape = layer.shape;
    if (shape.words() == 0 || pattern.rows() == 0) return;
    const std::int64_t tiles = shape.ld() / kTile;
    // An odd number of cache lines: rows a power of two apart would share few sets of the cache.
    const std::int64_t ld_x = ((shape.ld() + shape.taps + 15) / 16 | 1) * 16;
    const int threads = threads_for(pattern.survivors() * shape.words(), layer.threads);
    std::vector<std::int32_t> offsets;
    offsets.reserve(std::size_t(pattern.columns()));
    for (std::int64_t channel = 0; channel < shape.channels; ++channel)
        for (std::int64_t tap = 0; tap < shape.taps; ++tap) offsets.push_back(std::int32_t(channel * ld_x + tap));
    const auto plan = pattern.product_plan(65536, 1);
    T* packed = scratch_of<T>(Slot::packed_x, std::size_t(shape.channels * ld_x));
    T* y = layer.y ? layer.y : scratch_of<T>(Slot::output, std::size_t(pattern.rows() * shape.ld()));
    parallel(threads, [&](Team& team) {
        std::int64_t first, last;
        team.share(tiles, first, last);
        for (std::int64_t tile = first; tile < last; ++tile) {
            Edge<T> edge{};
            edge.outside = const_cast<T*>(layer.x) + tile * kTile * shape.channels;
            edge.ld = edge.features = shape.channels;
            edge.count = std::min<std::int64_t>(kTile, shape.words() - tile * kTile);
            edge.inside = packed + tile * kTile;
            edge.ld_inside = ld_x;
            edge.tile = kTile;
            primitives<T>().pack(edge);
        }
        std::int64_t channel, end;
        team.share(shape.channels, channel, end);
        for (; channel < end; ++channel) std::fill(packed + channel * ld_x + shape.ld(), packed + (channel + 1) * ld_x, T(0));
        team.barrier();
        for (std::int64_t tile = first; tile < last; ++tile) {
            Product<T> product{};
            product.plan = plan->view();
            product.low_columns = pattern.low_columns();
            product.values = layer.values;
            product.x = packed + tile * kTile;
            product.offsets = offsets.data();
            product.y = y + tile * kTile;
            product.ld_y = shape.ld();
            product.bias = layer.bias;
            product.start = layer.bias ? Start::bias : Start::zero;
            product.tile = kTile;
            primitives<T>().product(product, 0);
        }
        if (!layer.maximum) return;
        team.barrier();
        const std::int64_t filters = pattern.rows();
        team.share(shape.batch, first, last);
        for (std::int64_t text = first; text < last; ++text)
            for (std::int64_t filter = 0; filter < filters; ++filter) {
                const std::int64_t at = text * filters + filter;
                maximum_of(y + filter * shape.ld() + text * shape.length, shape.positions(), layer.maximum[at], layer.place[at]);
            }
    });
}

template <class T>
bool words_backward(const WordsBackward<T>& layer) {
    const Pattern& pattern = *layer.pattern;
    const WordsShape& shape = layer.shape;
    const std::int64_t filters = pattern.rows(), positions = shape.positions();
    const int threads = threads_for(pattern.survivors() * shape.batch * 2, layer.threads);
    // Text by text, so that what is found does not depend on the number of threads; the lists of a text's filters end where `ends` says.
    std::vector<std::vector<Response<T>>> found(std::size_t(shape.batch));
    std::vector<std::uint32_t> ends(std::size_t(shape.batch * filters));
    std::vector<std::int32_t> places;
    std::atomic<std::int64_t> nonzeros{0};
    parallel(threads, [&](Team& team) {
        std::int64_t text, last;
        team.share(shape.batch, text, last);
        for (; text < last && nonzeros.load(std::memory_order_relaxed) <= layer.most; ++text) {
            auto& responses = found[std::size_t(text)];
            const T* dy = layer.dy + text * filters * positions;
            if (layer.place) dy = layer.dy + text * filters;
            for (std::int64_t filter = 0; filter < filters; ++filter, dy += layer.place ? 1 : positions) {
                if (layer.place && *dy != T(0)) responses.push_back({text * shape.length + layer.place[text * filters + filter], *dy});
                for (std::int64_t begin = 0; begin < positions && !layer.place; begin += kLook) {
                    const std::int64_t end = std::min(begin + kLook, positions);
                    int any = 0;
                    for (std::int64_t position = begin; position < end; ++position) any |= dy[position] != T(0);
                    if (!any) continue;
                    for (std::int64_t position = begin; position < end; ++position)
                        if (dy[position] != T(0)) responses.push_back({text * shape.length + position, dy[position]});
                }
                ends[std::size_t(text * filters + filter)] = std::uint32_t(responses.size());
            }
            nonzeros.fetch_add(std::int64_t(responses.size()), std::memory_order_relaxed);
        }
    });
    if (nonzeros.load() > layer.most) return false;
    places = places_in_window(pattern, shape);
    const std::uint32_t* starts = pattern.row_starts();
    const auto responses_of = [&](std::int64_t text, std::int64_t filter, auto&& visit) {
        const std::uint32_t* end = ends.data() + text * filters + filter;
        for (std::uint32_t i = filter ? end[-1] : 0; i < *end; ++i) visit(found[std::size_t(text)][i]);
    };
    parallel(threads, [&](Team& team) {
        std::int64_t first, last;
        if (layer.dx) {
            team.share(shape.batch, first, last);
            for (std::int64_t text = first; text < last; ++text) {
                std::fill_n(layer.dx + text * shape.length * shape.channels, shape.length * shape.channels, T(0));
                for (std::int64_t filter = 0; filter < filters; ++filter)
                    responses_of(text, filter, [&](const Response<T>& response) {
                        T* window = layer.dx + response.window * shape.channels;
                        for (std::uint32_t i = starts[filter]; i < starts[filter + 1]; ++i) window[places[i]] += response.gradient * layer.values[i];
                    });
            }
        }
        team.share(filters, first, last);
        for (std::int64_t filter = first; filter < last; ++filter) {
            const std::uint32_t begin = starts[filter], count = starts[filter + 1] - begin;
            T total = 0;
            if (layer.dvalues) std::fill_n(layer.dvalues + begin, count, T(0));
            for (std::int64_t text = 0; text < shape.batch; ++text)
                responses_of(text, filter, [&](const Response<T>& response) {
                    total += response.gradient;
                    if (!layer.dvalues) return;
                    const T* window = layer.x + response.window * shape.channels;
                    T* sums = layer.dvalues + begin;
                    primitives<T>().add_gathered(response.gradient, window, places.data() + begin, count, sums);
                });
            if (layer.dbias) layer.dbias[filter] = total;
        }
    });
    return true;
}

template void words_forward<float>(const WordsForward<float>&);
template void words_forward<double>(const WordsForward<double>&);
template bool words_backward<float>(const WordsBackward<float>&);
template bool words_backward<double>(const WordsBackward<double>&);

}  // namespace secateur
