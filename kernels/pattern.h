// Which weights of a matrix survive, and in which order the kernels walk through them.
//
// The survivors' values are one vector in row order, owned by the caller (a torch parameter). A `Pattern` holds their columns;
// a `Plan` is an order of work over it: for the product (by rows) or for the gradients (by columns), cut into
// blocks whose operand stays in the first-level cache and into panels that threads share out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "plan_view.h"

namespace secateur {

struct Plan {
    int panels = 1;
    int side = 1;
    std::int64_t blocks = 1;
    std::vector<std::uint32_t> panel_lines;
    std::vector<Piece> pieces;
    std::vector<Segment> segments;
    std::vector<Group> groups;
    std::vector<std::uint8_t> columns;
    std::vector<std::uint16_t> rows;
    std::vector<std::uint32_t> places;
    std::vector<std::uint32_t> order;  // which entry each survivor is, in the order of execution

    PlanView view() const {
        const std::uint8_t* narrow = columns.empty() ? nullptr : columns.data();
        return {panels, blocks, panel_lines.data(), pieces.data(), segments.data(), groups.data(), narrow, side, rows.data(), places.data()};
    }
};

class Pattern {
  public:
    // `row_starts` (rows + 1) ascending from 0; `columns` ascending within each row, below `columns_count`.
    // Throws std::invalid_argument when they are not.
    Pattern(std::int64_t rows, std::int64_t columns_count, std::vector<std::uint32_t> row_starts, const std::int64_t* columns);

    std::int64_t rows() const { return rows_; }
    std::int64_t columns() const { return columns_; }
    std::int64_t survivors() const { return row_starts_.back(); }
    double density() const { return rows_ && columns_ ? double(survivors()) / (double(rows_) * double(columns_)) : 0.0; }
    const std::uint32_t* row_starts() const { return row_starts_.data(); }
    const std::uint16_t* low_columns() const { return low_.data(); }  // the lower 16 bits of each survivor's column
    const std::uint16_t* high_columns() const { return high_.empty() ? nullptr : high_.data(); }
    std::int64_t column(std::size_t survivor) const {
        return low_[survivor] | (high_.empty() ? 0 : std::int64_t(high_[survivor]) << 16);
    }

    // Orders of work, built on first use and kept. `width`: lines of the operand in a block, at most 65536.
    // Panels begin at multiples of `whole` lines.
    std::shared_ptr<const Plan> product_plan(std::int64_t width, int panels, std::int64_t whole = 1) const;
    // `side` columns of equal length are walked at once, 1 or 2.
    std::shared_ptr<const Plan> gradient_plan(std::int64_t width, int panels, int side, std::int64_t whole = 1) const;
    std::int64_t bytes() const;

  private:
    std::int64_t rows_, columns_;
    std::vector<std::uint32_t> row_starts_;
    std::vector<std::uint16_t> low_, high_;
    using Plans = std::map<std::tuple<std::int64_t, int, int, std::int64_t>, std::shared_ptr<const Plan>>;
    mutable std::mutex building_;
    mutable Plans product_plans_, gradient_plans_;
};

}  // namespace secateur
