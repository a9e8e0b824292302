// What each instruction set provides: the inner kernels as plain functions. linear.cpp and others build layers of them.
//
// Activations are feature-major in tiles: one row a feature, `tile` examples of the batch side by side in it. `tile` is one of the
// sizes of `tile_for`. Sums run in an order that depends on the pattern's blocks alone, never on panels, so results are the same for every number of threads.
#pragma once

#include <cstdint>

#include "plan_view.h"
#include "recurrent_primitives.h"

namespace secateur {

enum class Start { zero, bias, add };  // what a row's sums start from; `add`: what is there already

template <class T>
struct Product {  // y = W x + start, for the rows of one panel
    PlanView plan;
    const std::uint16_t* low_columns;
    const T* values;
    const T* x;                  // (columns, ld_x)
    std::int64_t ld_x;
    const std::int32_t* offsets; // where column c of W begins in x; null: at c * ld_x
    T* y;                        // (rows, ld_y) from row `first_row` on
    std::int64_t ld_y, first_row;
    const T* bias;               // (rows), for Start::bias
    Start start;
    bool relu;                   // at the end negative sums become zero
    int tile;
};

template <class T>
struct Gradients {  // dx = W^T dy and dvalues = dy x^T at the survivors, for the columns of one panel
    PlanView plan;
    const T* values;
    const T* x;                  // (columns, ld_x); null: no dvalues
    std::int64_t ld_x;
    const std::int32_t* offsets; // as in Product; for dx too
    const T* dy;                 // (rows, ld_dy)
    std::int64_t ld_dy;
    T* dx;                       // (columns, ld_dx) from column `first_column` on; null: no dx
    std::int64_t ld_dx, first_column;
    bool add_dx;                 // dx is added to what is there
    bool ahead;                  // x and dx of the next columns are fetched early: they lie where the caller keeps them, not near
    T* dvalues;                  // (entries of the plan) in the plan's order
    bool add_dvalues;
    int tile;
};

template <class T>
struct Edge {  // between torch's layout and a tile: `count` examples of `features` features; the rest of the tile is zero
    T* outside;                  // example-major: (count, ld) or feature-major: (features, ld)
    std::int64_t ld;
    bool feature_major;
    std::int64_t features, count;
    T* inside;                   // (features, ld_inside)
    std::int64_t ld_inside;
    const T* positive;           // pack: where this (of `outside`'s layout) is not above zero, zero is packed; null: everywhere as it is
    int tile;
};

template <class T>
struct Slots {  // a parameter under an optimiser: `count` numbers each; kept is null where nothing is pruned, else packed bits
    T* weights;
    const T* gradients;
    T* first;                    // moments, as far as the rule has any
    T* second;
    const std::uint8_t* kept;
    std::int64_t count;
};

template <class T>
struct AdamRule {  // w = shrink w - rate m / (root_scale sqrt(v) + eps), of m += mean_step (g - m), v = square_keep v + square_step g^2
    T rate, mean_step, square_keep, square_step, root_scale, eps;
    T decay;                     // times w, joins g
    T shrink;                    // decoupled decay
};

template <class T>
struct SgdRule {  // w -= rate (nesterov g + heavy b), of b = momentum b + g; without moments w -= rate g
    T rate, momentum, nesterov, heavy;
    T decay;                     // times w, joins g
};

template <class T>
struct Popup {  // weights used where |score| is largest
    const T* weights;
    T* scores;
    T* used;                     // null: nothing is to be chosen any more
    const std::uint8_t* candidates;  // packed bits; null: all
    std::int64_t size, count;
};

template <class T>
struct PopupStep {  // s -= rate b, of b = momentum b + g, g = slope weight sign(s) + decay s; where `first`, b = g
    const T* slopes;
    T* buffers;                  // where `first`, these may be the slopes
    T rate, momentum, decay;
    bool first;
};

template <class T>
struct Bracket {  // the |score| of the last one used lies in [low, high], those of so many candidates above
    T low, high;
    std::int64_t above;
};

struct Near {  // candidates at a bracket, in order; there is room for all
    std::int64_t* places;
    std::int64_t found, above;
};

template <class T>
struct Squares {  // t + g^2, times w^2 by the divisor; where `first`, t are gradients too, to be squared
    T* totals;
    const T* gradients;          // null: none
    const T* weights;            // null: no product
    T divisor;
    bool first;
};

template <class T>
struct Flow {  // one example through a layer whose weights enter by their magnitudes, in double precision
    const T* weights;            // (rows, columns)
    const double* x;             // (columns)
    std::int64_t rows, columns;
};

template <class T>
struct Primitives {
    void (*product)(const Product<T>&, int panel);
    void (*gradients)(const Gradients<T>&, int panel);
    int (*columns_at_once)(int tile);  // the `side` of a gradient plan for tiles of this size
    int widest_gradients;              // examples that `gradients` walks at once
    void (*pack)(const Edge<T>&);
    void (*unpack)(const Edge<T>&);
    // to[i] = from[order[i]], plus other[order[i]] unless `other` is null
    void (*reorder)(const T* from, const T* other, const std::uint32_t* order, std::int64_t count, T* to);
    // sums[i] += factor * from[places[i]]
    void (*add_gathered)(T factor, const T* from, const std::int32_t* places, std::int64_t count, T* sums);
    // sums[f] (+)= the sum of row f over `count` examples
    void (*row_sums)(const T* rows, std::int64_t ld, std::int64_t features, std::int64_t count, bool add, T* sums);
    // y = W x + bias for one example; `plan` is a product plan of full width
    void (*product_of_vector)(const PlanView&, int panel, const std::uint16_t* low_columns, const T* values, const T* x, const T* bias, bool relu, T* y);
    // to[i] = from[i] * factor + shift
    void (*scaled)(const std::uint8_t* from, std::int64_t count, T factor, T shift, T* to);
    // One optimiser step on the weights [first, last)
    void (*adam)(const AdamRule<T>&, const Slots<T>&, std::int64_t first, std::int64_t last);
    void (*sgd)(const SgdRule<T>&, const Slots<T>&, std::int64_t first, std::int64_t last);
    // totals[i] += |weights[i] gradients[i]| over [begin, end); where `first`, totals need hold nothing yet, and may be the gradients
    void (*add_changes)(const T* weights, const T* gradients, T* totals, bool first, std::int64_t begin, std::int64_t end);
    void (*squares)(const Squares<T>&, std::int64_t begin, std::int64_t end);
    // scores[r, c] = |weights[r, c] norms[c]| of the rows [begin, end)
    void (*weigh)(const T* weights, const T* norms, std::int64_t columns, T* scores, std::int64_t begin, std::int64_t end);
    // totals[c] += the sum over rows of vectors[r, c]^2, of the columns [begin, end)
    void (*add_squares)(const T* vectors, std::int64_t rows, std::int64_t columns, double* totals, std::int64_t begin, std::int64_t end);
    // y[r] = the sum over c of |weights[r, c]| x[c], of the rows [begin, end)
    void (*flow_on)(const Flow<T>&, double* y, std::int64_t begin, std::int64_t end);
    // dx[c] = the sum over r of |weights[r, c]| dy[r], and scores[r, c] = |weights[r, c]| dy[r] x[c], of the columns [begin, end): their sum
    double (*flow_back)(const Flow<T>&, const double* dy, double* dx, double* scores, std::int64_t begin, std::int64_t end);
    // to[i] of [begin, end), `begin` even: the upper 24 bits of each half of splitmix64's numbers, the lower half first, spread over [-bound, bound)
    void (*uniform)(std::uint64_t seed, T bound, T* to, std::int64_t begin, std::int64_t end);
    // Of [begin, end): what lies above the bracket is used, and counted; what lies in it is found.
    void (*popup_choose)(const Popup<T>&, const Bracket<T>&, std::int64_t begin, std::int64_t end, Near&);
    // One step; what lay or lies in the bracket, or passed it, is found, and `above` is how many more lie above it.
    void (*popup_step)(const Popup<T>&, const PopupStep<T>&, const Bracket<T>&, std::int64_t begin, std::int64_t end, Near&);
};

struct InstructionSet {
    const char* name;
    Primitives<float> single;
    Primitives<double> twofold;
    const RecurrentInstructions* recurrent;
};

template <class T>
const Primitives<T>& primitives();  // of the instruction set chosen at load time (dispatch.cpp)
const char* instruction_set();
// Whether this processor's gathers take longer than as many single loads: AMD's do, up to Zen 4 at least. SECATEUR_GATHERS=slow or fast decides instead.
bool gathers_are_slow();
const char* const* instruction_sets(int* count);  // those this processor can run, best first

}  // namespace secateur
