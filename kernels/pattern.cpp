#include "pattern.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace secateur {
namespace {

constexpr std::int64_t kIndexRange = 65536;
constexpr std::int64_t kNarrow = 256;  // columns of a block that 8 bits tell apart
constexpr std::size_t kPlansKept = 4;
// What a line costs besides its survivors, in survivors: its sums are loaded and stored, its loop begins and ends.
constexpr double kLineCost = 3.0;
// Lines that are sorted by length together. Whole lines lie close enough to share the cache lines of their values; pieces of
// lines are short, and more of them have others of their length beside them.
constexpr std::uint32_t kNeighbours = 64, kNeighbouringPieces = 256;

// Cut lines into panels of about equal work.
std::vector<std::uint32_t> panels_of_equal_work(const std::vector<std::uint32_t>& starts, int panels, std::int64_t whole) {
    const std::int64_t lines = std::int64_t(starts.size()) - 1;
    std::vector<std::uint32_t> cuts{0};
    const double total = double(starts.back()) + kLineCost * double(lines);
    std::int64_t line = 0;
    for (int panel = 1; panel < panels; ++panel) {
        const double wanted = total * panel / panels;
        while (line < lines && double(starts[std::size_t(line)]) + kLineCost * double(line) < wanted) ++line;
        cuts.push_back(std::uint32_t(std::min((line + whole / 2) / whole * whole, lines)));
    }
    cuts.push_back(std::uint32_t(lines));
    return cuts;
}

// Order the segments of a piece by length, longest first within a neighbourhood, and note the groups. `lengths` runs parallel to `segments`.
void close_piece(Plan& plan, Piece& piece, std::vector<Segment>& segments, std::vector<std::uint32_t>& lengths) {
    std::vector<std::uint32_t> order(segments.size());
    std::iota(order.begin(), order.end(), 0u);
    const std::uint32_t together = plan.blocks > 1 ? kNeighbouringPieces : kNeighbours;
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
        const auto ca = segments[a].line / together, cb = segments[b].line / together;
        return ca != cb ? ca < cb : lengths[a] > lengths[b];
    });
    piece.first_segment = std::uint32_t(plan.segments.size());
    piece.first_group = std::uint32_t(plan.groups.size());
    for (const auto i : order) {
        const bool new_group = plan.groups.size() == piece.first_group || plan.groups.back().length != lengths[i];
        if (new_group) plan.groups.push_back({0, lengths[i]});
        ++plan.groups.back().segments;
        plan.segments.push_back(segments[i]);
    }
    piece.groups = std::uint32_t(plan.groups.size()) - piece.first_group;
    plan.pieces.push_back(piece);
}

// Blocks of `width` lines that never straddle a multiple of 65536.
struct Blocks {
    std::int64_t width, in_range, count;
    Blocks(std::int64_t lines, std::int64_t wanted) : width(std::clamp<std::int64_t>(wanted, 1, kIndexRange)) {
        in_range = (kIndexRange + width - 1) / width;
        const std::int64_t whole = lines / kIndexRange, rest = lines % kIndexRange;
        count = std::max<std::int64_t>(1, whole * in_range + (rest + width - 1) / width);
    }
    std::int64_t begin(std::int64_t block) const { return block / in_range * kIndexRange + block % in_range * width; }
    std::int64_t end(std::int64_t block) const {
        return std::min(begin(block) + width, (block / in_range + 1) * kIndexRange);
    }
};

Plan make_product_plan(const Pattern& pattern, std::int64_t width, int panels, int, std::int64_t whole) {
    const Blocks blocks(pattern.columns(), width);
    const std::uint32_t* starts = pattern.row_starts();
    Plan plan;
    plan.panels = panels;
    plan.blocks = blocks.count;
    plan.panel_lines = panels_of_equal_work({starts, starts + pattern.rows() + 1}, panels, whole);
    const bool narrow = blocks.count > 1 && blocks.width <= kNarrow;
    if (narrow) plan.columns.resize(std::size_t(pattern.survivors()));
    std::vector<std::uint32_t> next(starts, starts + pattern.rows());
    std::vector<Segment> segments;
    std::vector<std::uint32_t> lengths;
    for (int panel = 0; panel < panels; ++panel) {
        for (std::int64_t block = 0; block < blocks.count; ++block) {
            segments.clear();
            lengths.clear();
            for (std::uint32_t row = plan.panel_lines[panel]; row < plan.panel_lines[panel + 1]; ++row) {
                const std::uint32_t begin = next[row];
                std::uint32_t end = begin;
                for (; end < starts[row + 1] && pattern.column(end) < blocks.end(block); ++end)
                    if (narrow) plan.columns[end] = std::uint8_t(pattern.column(end) - blocks.begin(block));
                next[row] = end;
                if (end == begin && block > 0 && block + 1 < blocks.count) continue;
                segments.push_back({row, begin});
                lengths.push_back(end - begin);
            }
            Piece piece{};
            piece.base = std::uint32_t(narrow ? blocks.begin(block) : blocks.begin(block) / kIndexRange * kIndexRange);
            close_piece(plan, piece, segments, lengths);
        }
    }
    plan.segments.resize(plan.segments.size() + 2 * kAhead, Segment{});
    return plan;
}

Plan make_gradient_plan(const Pattern& pattern, std::int64_t width, int panels, int side, std::int64_t whole) {
    const Blocks blocks(pattern.rows(), width);
    const std::int64_t columns = pattern.columns();
    const std::uint32_t* starts = pattern.row_starts();
    const std::size_t survivors = std::size_t(pattern.survivors());
    Plan plan;
    plan.panels = panels;
    plan.side = side;
    plan.blocks = blocks.count;

    // Survivors by column, rows ascending: a counting sort.
    std::vector<std::uint32_t> column_starts(std::size_t(columns) + 1, 0);
    for (std::size_t i = 0; i < survivors; ++i) ++column_starts[std::size_t(pattern.column(i)) + 1];
    std::partial_sum(column_starts.begin(), column_starts.end(), column_starts.begin());
    std::vector<std::uint32_t> next(column_starts.begin(), column_starts.end() - 1), rows(survivors), places(survivors);
    for (std::int64_t row = 0; row < pattern.rows(); ++row) {
        for (std::uint32_t i = starts[row]; i < starts[row + 1]; ++i) {
            const std::uint32_t at = next[std::size_t(pattern.column(i))]++;
            rows[at] = std::uint32_t(row);
            places[at] = i;
        }
    }
    plan.panel_lines = panels_of_equal_work(column_starts, panels, whole);
    plan.rows.reserve(survivors + survivors / 8);
    plan.places.reserve(survivors + survivors / 8);
    plan.order.resize(survivors);
    std::copy(column_starts.begin(), column_starts.end() - 1, next.begin());
    std::vector<Segment> segments;
    std::vector<std::uint32_t> lengths;
    for (int panel = 0; panel < panels; ++panel) {
        for (std::int64_t block = 0; block < blocks.count; ++block) {
            segments.clear();
            lengths.clear();
            for (std::uint32_t column = plan.panel_lines[panel]; column < plan.panel_lines[panel + 1]; ++column) {
                const std::uint32_t begin = next[column];
                std::uint32_t end = begin;
                while (end < column_starts[column + 1] && rows[end] < blocks.end(block)) ++end;
                next[column] = end;
                if (end == begin && block > 0) continue;
                segments.push_back({column, begin});
                lengths.push_back(end - begin);
            }
            Piece piece{};
            piece.base = std::uint32_t(blocks.begin(block));
            close_piece(plan, piece, segments, lengths);
            // The entries are copied in the order of execution, so that the kernel reads them as one stream.
            std::size_t segment = piece.first_segment;
            for (std::uint32_t g = 0; g < piece.groups; ++g) {
                const Group& group = plan.groups[piece.first_group + g];
                for (std::uint32_t s = 0; s < group.segments;) {
                    const std::uint32_t together = std::min<std::uint32_t>(std::uint32_t(side), group.segments - s);
                    const std::uint32_t at = std::uint32_t(plan.rows.size()), entries = (group.length * together + 1) / 2 * 2;
                    plan.rows.resize(at + entries, 0);
                    plan.places.resize(at + entries, 0);
                    for (std::uint32_t r = 0; r < together; ++r, ++s, ++segment) {
                        const std::uint32_t from = plan.segments[segment].start;
                        plan.segments[segment].start = at + r;
                        for (std::uint32_t k = 0; k < group.length; ++k) {
                            const std::uint32_t entry = at + k * together + r;
                            plan.rows[entry] = std::uint16_t(rows[from + k] - piece.base);
                            plan.places[entry] = places[from + k];
                            plan.order[places[from + k]] = entry;
                        }
                    }
                }
            }
        }
    }
    plan.segments.resize(plan.segments.size() + 2 * kAhead, Segment{});
    return plan;
}

}  // namespace

Pattern::Pattern(std::int64_t rows, std::int64_t columns_count, std::vector<std::uint32_t> row_starts, const std::int64_t* columns)
    : rows_(rows), columns_(columns_count), row_starts_(std::move(row_starts)) {
    constexpr std::int64_t limit = std::numeric_limits<std::uint32_t>::max();
    if (rows < 0 || columns_count < 0 || rows >= limit || columns_count >= limit)
        throw std::invalid_argument("a pattern has at most 2**32 - 2 rows and columns");
    if (std::int64_t(row_starts_.size()) != rows + 1 || row_starts_[0] != 0)
        throw std::invalid_argument("row_starts must hold rows + 1 numbers and begin with 0");
    for (std::int64_t row = 0; row < rows; ++row)
        if (row_starts_[std::size_t(row) + 1] < row_starts_[std::size_t(row)]) throw std::invalid_argument("row_starts must ascend");
    const std::size_t survivors = row_starts_.back();
    low_.resize(survivors);
    if (columns_count > kIndexRange) high_.resize(survivors);
    for (std::int64_t row = 0; row < rows; ++row) {
        std::int64_t previous = -1;
        for (std::size_t i = row_starts_[std::size_t(row)]; i < row_starts_[std::size_t(row) + 1]; ++i) {
            const std::int64_t column = columns[i];
            if (column <= previous || column >= columns_count)
                throw std::invalid_argument("columns of row " + std::to_string(row) + " must ascend and lie in [0, " +
                                            std::to_string(columns_count) + ")");
            previous = column;
            low_[i] = std::uint16_t(column & 0xFFFF);
            if (!high_.empty()) high_[i] = std::uint16_t(column >> 16);
        }
    }
}

namespace {

using Key = std::tuple<std::int64_t, int, int, std::int64_t>;

std::shared_ptr<const Plan> find_or_make(std::map<Key, std::shared_ptr<const Plan>>& plans, std::mutex& building, const Pattern& pattern,
                                         const Key& key, Plan (*make)(const Pattern&, std::int64_t, int, int, std::int64_t)) {
    const std::lock_guard lock(building);
    if (const auto found = plans.find(key); found != plans.end()) return found->second;
    if (plans.size() >= kPlansKept) plans.erase(plans.begin());
    const auto [width, panels, side, whole] = key;
    auto plan = std::make_shared<const Plan>(make(pattern, width, panels, side, whole));
    plans.emplace(key, plan);
    return plan;
}

}  // namespace

std::shared_ptr<const Plan> Pattern::product_plan(std::int64_t width, int panels, std::int64_t whole) const {
    return find_or_make(product_plans_, building_, *this, {std::min(width, std::max<std::int64_t>(columns_, 1)), panels, 1, whole}, make_product_plan);
}

std::shared_ptr<const Plan> Pattern::gradient_plan(std::int64_t width, int panels, int side, std::int64_t whole) const {
    return find_or_make(gradient_plans_, building_, *this, {std::min(width, std::max<std::int64_t>(rows_, 1)), panels, side, whole}, make_gradient_plan);
}

std::int64_t Pattern::bytes() const {
    const std::lock_guard lock(building_);
    std::int64_t total = std::int64_t(row_starts_.size() * 4 + (low_.size() + high_.size()) * 2);
    for (const Plans* plans : {&product_plans_, &gradient_plans_})
        for (const auto& [key, plan] : *plans)
            total += std::int64_t(plan->segments.size() * sizeof(Segment) + plan->groups.size() * sizeof(Group) +
                                  plan->pieces.size() * sizeof(Piece) + plan->columns.size() + plan->rows.size() * 2 + (plan->places.size() + plan->order.size()) * 4);
    return total;
}

}  // namespace secateur
