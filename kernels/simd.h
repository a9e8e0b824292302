// Vectors in the compiler's own terms, so that one source serves every instruction set.
//
// Each translation unit kernels_<isa>.cpp defines SECATEUR_ISA (the namespace its code lives in, so that no two
// instruction sets share a symbol) and SECATEUR_VECTOR_BYTES before it includes the kernels. Nothing here or in the kernels may
// instantiate a standard template: the linker would keep one copy of it, perhaps the one this processor cannot run.
#pragma once

#include <cstdint>

#if !defined(SECATEUR_ISA) || !defined(SECATEUR_VECTOR_BYTES)
#error "define SECATEUR_ISA and SECATEUR_VECTOR_BYTES"
#endif

#define SECATEUR_INLINE inline __attribute__((always_inline))
// Loops over registers must vanish, or the registers become memory.
#define SECATEUR_UNROLL _Pragma("GCC unroll 32")

// Keep a vector in its register: without this the compiler may load it again at each use.
#if defined(__AVX512F__)
#define SECATEUR_KEEP(v) asm("" : "+v"(v))
#elif defined(__x86_64__)
#define SECATEUR_KEEP(v) asm("" : "+x"(v))
#elif defined(__aarch64__)
#define SECATEUR_KEEP(v) asm("" : "+w"(v))
#else
#define SECATEUR_KEEP(v)
#endif

namespace secateur::SECATEUR_ISA {

// W numbers of type T.
template <class T, int W>
struct Vector {
    typedef T type __attribute__((vector_size(W * sizeof(T))));
    typedef T unaligned __attribute__((vector_size(W * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T, int W>
using Vec = typename Vector<T, W>::type;

template <class T>
inline constexpr int widest = SECATEUR_VECTOR_BYTES / int(sizeof(T));

template <int W, class T>
SECATEUR_INLINE Vec<T, W> load(const T* from) {
    return *reinterpret_cast<const typename Vector<T, W>::unaligned*>(from);
}

template <int W, class T>
SECATEUR_INLINE void store(T* to, Vec<T, W> value) {
    *reinterpret_cast<typename Vector<T, W>::unaligned*>(to) = value;
}

template <int W, class T>
SECATEUR_INLINE Vec<T, W> broadcast(T value) {
    return value - Vec<T, W>{};
}

template <int... I>
struct Lanes {};
template <int N, int... I>
struct MakeLanes : MakeLanes<N - 1, N - 1, I...> {};
template <int... I>
struct MakeLanes<0, I...> {
    using type = Lanes<I...>;
};

// Whether one load may fetch two numbers, each of which a shuffle then brings to all lanes: where loads are what the kernels have too few of.
template <class T, int W>
inline constexpr bool loads_in_pairs = sizeof(T) == 4 && W >= 8;

// Two numbers again and again.
template <int W, class T>
SECATEUR_INLINE Vec<T, W> pairs(const T* from) {
    std::int64_t bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    Vec<T, W> all = (Vec<T, W>)(Vec<std::int64_t, W / 2>{} + bits);
    SECATEUR_KEEP(all);
    return all;
}

// The first or the second of two in all lanes.
template <int Which, class V, int... I>
SECATEUR_INLINE V of_pair(V pairs, Lanes<I...>) {
    return __builtin_shufflevector(pairs, pairs, (I / 2 * 2 + Which)...);
}

// What is left of ReLU's input; not a number stays one.
template <int W, class T>
SECATEUR_INLINE Vec<T, W> positive_part(Vec<T, W> v) {
    return v < Vec<T, W>{} ? Vec<T, W>{} : v;
}

// Count small integers that one load fetches: loads are what the kernels have too few of.
template <int Count, class I>
struct Together {
    static_assert(Count * sizeof(I) <= 8);
    std::uint64_t bits = 0;
    SECATEUR_INLINE I operator[](int i) const { return I(bits >> (8 * sizeof(I) * std::size_t(i))); }
};
template <int Count, class I>
SECATEUR_INLINE Together<Count, I> together(const I* from) {
    Together<Count, I> loaded;
    __builtin_memcpy(&loaded.bits, from, Count * sizeof(I));
    return loaded;
}

// Lane i of the result: a[i] where bit H of i is clear, else b[i].
template <int H, class V, int... I>
SECATEUR_INLINE V straight(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, ((I & H) ? I + int(sizeof...(I)) : I)...);
}

// Lane i of the result: a[i ^ H] where bit H of i is clear, else b[i ^ H].
template <int H, class V, int... I>
SECATEUR_INLINE V crossed(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, ((I & H) ? (I ^ H) + int(sizeof...(I)) : (I ^ H))...);
}

// Sums of the lanes of W vectors: lane i of v[0] becomes the sum of v[i].
template <int W, class T, int H = W / 2>
SECATEUR_INLINE void add_lanes(Vec<T, W>* v) {
    if constexpr (H >= 1) {
        using All = typename MakeLanes<W>::type;
        SECATEUR_UNROLL for (int i = 0; i < H; ++i) v[i] = straight<H>(v[i], v[i + H], All{}) + crossed<H>(v[i], v[i + H], All{});
        add_lanes<W, T, H / 2>(v);
    }
}

template <int H, class V, int... I>
SECATEUR_INLINE V upper_half(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, ((I & H) ? (I ^ H) + int(sizeof...(I)) : I)...);
}

template <int H, class V, int... I>
SECATEUR_INLINE V lower_half(V a, V b, Lanes<I...>) {
    return __builtin_shufflevector(a, b, ((I & H) ? I + int(sizeof...(I)) : (I ^ H))...);
}

// The transpose of a W x W block held in W vectors.
template <int W, class T, int H = W / 2>
SECATEUR_INLINE void transpose(Vec<T, W>* v) {
    if constexpr (H >= 1) {
        using All = typename MakeLanes<W>::type;
        SECATEUR_UNROLL for (int i = 0; i < W; ++i) {
            if (i & H) continue;
            const Vec<T, W> a = v[i], b = v[i + H];
            // Lane j of the upper vector: a[j], or b[j ^ H] where bit H of j is set; the lower one takes what is left.
            v[i] = upper_half<H>(a, b, All{});
            v[i + H] = lower_half<H>(a, b, All{});
        }
        transpose<W, T, H / 2>(v);
    }
}

}  // namespace secateur::SECATEUR_ISA
