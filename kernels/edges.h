// Between torch's layouts and the kernels' tiles: blocked transposes and zero padding; bytes to numbers.
#pragma once

#include "primitives.h"
#include "simd.h"

namespace secateur::SECATEUR_ISA {

template <class T>
void scaled(const std::uint8_t* __restrict from, std::int64_t count, T factor, T shift, T* __restrict to) {
    for (std::int64_t i = 0; i < count; ++i) to[i] = T(from[i]) * factor + shift;
}

template <class T, int W>
SECATEUR_INLINE Vec<T, W> where_positive(Vec<T, W> value, Vec<T, W> condition) {
    return condition > Vec<T, W>{} ? value : Vec<T, W>{};
}

// A block of W features and W examples from example `first` on. Where not Whole, what lies past `count` is zero.
template <class T, int W, bool Whole, bool Masked>
SECATEUR_INLINE void pack_block(const Edge<T>& edge, std::int64_t feature, std::int64_t first) {
    Vec<T, W> v[W];
    SECATEUR_UNROLL for (int i = 0; i < W; ++i) {
        v[i] = Vec<T, W>{};
        if (Whole || first + i < edge.count) {
            const std::int64_t at = (first + i) * edge.ld + feature;
            v[i] = load<W>(edge.outside + at);
            if constexpr (Masked) v[i] = where_positive<T, W>(v[i], load<W>(edge.positive + at));
        }
    }
    transpose<W, T>(v);
    T* to = edge.inside + feature * edge.ld_inside + first;
    SECATEUR_UNROLL for (int i = 0; i < W; ++i) store<W>(to + i * edge.ld_inside, v[i]);
}

template <class T, int W, bool Whole>
SECATEUR_INLINE void unpack_block(const Edge<T>& edge, std::int64_t feature, std::int64_t first) {
    Vec<T, W> v[W];
    const T* from = edge.inside + feature * edge.ld_inside + first;
    SECATEUR_UNROLL for (int i = 0; i < W; ++i) v[i] = load<W>(from + i * edge.ld_inside);
    transpose<W, T>(v);
    T* to = edge.outside + first * edge.ld + feature;
    SECATEUR_UNROLL for (int i = 0; i < W; ++i)
        if (Whole || first + i < edge.count) store<W>(to + i * edge.ld, v[i]);
}

// Examples are walked a vector of them at a time: as many rows far apart as the hardware fetches ahead.
template <class T, int W, bool Masked>
SECATEUR_INLINE void pack_examples(const Edge<T>& edge) {
    const std::int64_t blocked = edge.features / W * W;
    int first = 0;
    for (; first + W <= edge.count; first += W)
        for (std::int64_t feature = 0; feature < blocked; feature += W) pack_block<T, W, true, Masked>(edge, feature, first);
    for (; first < edge.tile; first += W)
        for (std::int64_t feature = 0; feature < blocked; feature += W) pack_block<T, W, false, Masked>(edge, feature, first);
    for (std::int64_t feature = blocked; feature < edge.features; ++feature)
        for (std::int64_t i = 0; i < edge.tile; ++i) {
            const std::int64_t at = i * edge.ld + feature;
            const bool kept = i < edge.count && (!Masked || edge.positive[at] > T(0));
            edge.inside[feature * edge.ld_inside + i] = kept ? edge.outside[at] : T(0);
        }
}

template <class T, int W>
SECATEUR_INLINE void unpack_examples(const Edge<T>& edge) {
    const std::int64_t blocked = edge.features / W * W;
    int first = 0;
    for (; first + W <= edge.count; first += W)
        for (std::int64_t feature = 0; feature < blocked; feature += W) unpack_block<T, W, true>(edge, feature, first);
    for (; first < edge.count; first += W)
        for (std::int64_t feature = 0; feature < blocked; feature += W) unpack_block<T, W, false>(edge, feature, first);
    for (std::int64_t feature = blocked; feature < edge.features; ++feature)
        for (std::int64_t i = 0; i < edge.count; ++i) edge.outside[i * edge.ld + feature] = edge.inside[feature * edge.ld_inside + i];
}

// Rows are short pieces far apart: this many ahead are fetched while one is copied.
constexpr std::int64_t kAhead = 8;

template <class T>
void pack_features(const Edge<T>& edge) {
    constexpr int W = widest<T>;
    for (std::int64_t feature = 0; feature < edge.features; ++feature) {
        const T* from = edge.outside + feature * edge.ld;
        const T* positive = edge.positive ? edge.positive + feature * edge.ld : nullptr;
        T* to = edge.inside + feature * edge.ld_inside;
        std::int64_t i = 0;
        for (; i + W <= edge.count; i += W) {
            __builtin_prefetch(from + kAhead * edge.ld + i);
            const Vec<T, W> v = load<W>(from + i);
            store<W>(to + i, positive ? where_positive<T, W>(v, load<W>(positive + i)) : v);
        }
        for (; i < edge.count; ++i) to[i] = !positive || positive[i] > T(0) ? from[i] : T(0);
        for (; i < edge.tile; ++i) to[i] = T(0);
    }
}

template <class T>
void unpack_features(const Edge<T>& edge) {
    constexpr int W = widest<T>;
    for (std::int64_t feature = 0; feature < edge.features; ++feature) {
        const T* from = edge.inside + feature * edge.ld_inside;
        T* to = edge.outside + feature * edge.ld;
        std::int64_t i = 0;
        for (; i + W <= edge.count; i += W) {
            __builtin_prefetch(to + kAhead * edge.ld + i, 1);
            store<W>(to + i, load<W>(from + i));
        }
        for (; i < edge.count; ++i) to[i] = from[i];
    }
}

// The largest block that fits both a vector and the tile.
template <class T, template <class, int> class Move>
SECATEUR_INLINE void by_width(const Edge<T>& edge) {
    constexpr int W = widest<T>;
    if (edge.tile % W == 0) return Move<T, W>::run(edge);
    if constexpr (W > 8)
        if (edge.tile % 8 == 0) return Move<T, 8>::run(edge);
    if constexpr (W > 4)
        if (edge.tile % 4 == 0) return Move<T, 4>::run(edge);
    Move<T, 2>::run(edge);
}

template <class T, int W>
struct PackExamples {
    static void run(const Edge<T>& edge) { edge.positive ? pack_examples<T, W, true>(edge) : pack_examples<T, W, false>(edge); }
};
template <class T, int W>
struct UnpackExamples {
    static void run(const Edge<T>& edge) { unpack_examples<T, W>(edge); }
};

template <class T>
void pack(const Edge<T>& edge) {
    edge.feature_major ? pack_features(edge) : by_width<T, PackExamples>(edge);
}

template <class T>
void unpack(const Edge<T>& edge) {
    edge.feature_major ? unpack_features(edge) : by_width<T, UnpackExamples>(edge);
}

// A row's examples, summed as far as vectors go: lane by lane.
template <class T, int W>
SECATEUR_INLINE Vec<T, W> row_sum(const T* row, std::int64_t count) {
    Vec<T, W> v[2] = {};
    std::int64_t i = 0;
    for (; i + 2 * W <= count; i += 2 * W) {
        v[0] += load<W>(row + i);
        v[1] += load<W>(row + i + W);
    }
    v[0] += v[1];
    for (int lane = 0; i < count; ++i, ++lane) v[0][lane % W] += row[i];
    return v[0];
}

template <class T>
void row_sums(const T* rows, std::int64_t ld, std::int64_t features, std::int64_t count, bool add, T* sums) {
    constexpr int W = widest<T>;
    std::int64_t feature = 0;
    for (; feature + W <= features; feature += W) {
        Vec<T, W> v[W];
        SECATEUR_UNROLL for (int i = 0; i < W; ++i) v[i] = row_sum<T, W>(rows + (feature + i) * ld, count);
        add_lanes<W, T>(v);
        store<W>(sums + feature, add ? load<W>(sums + feature) + v[0] : v[0]);
    }
    for (; feature < features; ++feature) {
        Vec<T, W> v[W] = {row_sum<T, W>(rows + feature * ld, count)};
        add_lanes<W, T>(v);
        sums[feature] = (add ? sums[feature] : T(0)) + v[0][0];
    }
}

}  // namespace secateur::SECATEUR_ISA
