// An order of work as the kernels read it: plain memory, no standard templates (see simd.h).
#pragma once

#include <cstdint>

namespace secateur {

// One line of a block: a row (product) or a column (gradients) with its survivors.
struct Segment {
    std::uint32_t line;   // row or column, absolute
    std::uint32_t start;  // its first survivor: an index into the pattern's columns and values, or into the plan's entries
};

// The product fetches values and columns of the segment so far ahead; a plan's segments are followed by as many, and some more, that are empty.
constexpr int kAhead = 4;

// Consecutive segments of equal length: the loop over survivors then ends where the processor expects.
struct Group {
    std::uint32_t segments;
    std::uint32_t length;
};

// The part of a block that lies in one panel.
struct Piece {
    std::uint32_t first_segment, first_group, groups;
    std::uint32_t base;  // subtract from an operand's line to get its index: a multiple of 65536, or the block's first line
};

// Panel p holds lines [panel_lines[p], panel_lines[p + 1]). Pieces stand by panel, then by block; the first block of a panel has a
// segment for every line of it, where sums start; so has the last block of a product, where they end.
struct PlanView {
    int panels;
    std::int64_t blocks;
    const std::uint32_t* panel_lines;
    const Piece* pieces;
    const Segment* segments;
    const Group* groups;
    // Products in narrow blocks only, else null: each survivor's column within its block, in the pattern's order. Half the bytes to read.
    const std::uint8_t* columns;
    // Gradients only. Entries in order of execution: the row within the block, and the survivor's place among the values. `side` columns of a
    // group are walked side by side, their entries taking turns; a column that is left over has an even number of entries, the last perhaps void.
    int side;
    const std::uint16_t* rows;
    const std::uint32_t* places;

    const Piece& piece(int panel, std::int64_t block) const { return pieces[panel * blocks + block]; }
};

}  // namespace secateur
