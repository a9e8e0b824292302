// A recurrent matrix in the order in which one step walks through it.
//
// Lines (rows forward, columns backward) of about equal length are taken four at a time, so that four sums hide one another's
// latency and the processor foresees where the loop ends; the survivors of four lines are interleaved, and the shorter lines
// filled up with zeros. Values are copied into this order once a sequence and then read at every step as one stream.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "pattern.h"

namespace secateur {

constexpr int kSliceLines = 4;

struct Slice {
    std::uint32_t line[kSliceLines];  // relative to its chunk; a line that stands twice was added to make four
    std::uint32_t length;             // survivors of each line
    std::uint32_t first;              // of its entries: entry k of line i is first + k * kSliceLines + i
};

// Slices of one chunk whose operands lie in one block.
struct SlicePiece {
    std::uint32_t first_slice, slices;
    std::uint32_t base;  // the block's first operand
};

// Consecutive hidden units whose sums are done before their nonlinearities.
struct Chunk {
    std::uint32_t first_unit, last_unit;
};

struct Slices {
    int panels = 1;
    std::int64_t blocks = 1;
    std::vector<std::uint32_t> panel_chunks;   // panel p has chunks [panel_chunks[p], panel_chunks[p + 1])
    std::vector<std::uint32_t> panel_entries;  // and these entries
    std::vector<Chunk> chunks;
    std::vector<SlicePiece> pieces;  // by chunk, then by block
    std::vector<Slice> slices;
    std::vector<std::uint16_t> operands;  // relative to the piece's base
    std::vector<std::uint32_t> places;    // among the values, or kFilling
    static constexpr std::uint32_t kFilling = 0xFFFFFFFF;

    std::uint32_t first_unit(int panel) const;
    std::uint32_t last_unit(int panel) const;
};

// The recurrent matrix (gates * hidden, hidden) of one direction of one layer, and its slices, built on first use.
class RecurrentMatrix {
  public:
    // Throws std::invalid_argument unless the pattern is of this shape.
    // `pattern` must live as long.
    RecurrentMatrix(const Pattern& pattern, std::int64_t gates);
    const Pattern& pattern() const { return pattern_; }
    std::int64_t hidden() const { return pattern_.columns(); }
    std::int64_t gates() const { return gates_; }

    // W h: lines are rows, unit u's being u, hidden + u, 2 * hidden + u …; within a chunk the gates of its units follow one another.
    // `width`: operands in a block. `units`: in a chunk at most.
    std::shared_ptr<const Slices> forward(int panels, std::int64_t width, std::int64_t units) const;
    // W^T d: lines are columns, numbered from the chunk's first unit.
    std::shared_ptr<const Slices> backward(int panels, std::int64_t width) const;
    std::int64_t bytes() const;

  private:
    struct Key {
        int panels;
        std::int64_t width, units;
        auto operator<=>(const Key&) const = default;
    };
    using Kept = std::map<Key, std::shared_ptr<const Slices>>;
    std::shared_ptr<const Slices> find_or_make(Kept& kept, const Key& key, bool forward) const;

    const Pattern& pattern_;
    std::int64_t gates_;
    mutable std::mutex building_;
    mutable Kept forward_, backward_;
};

}  // namespace secateur
