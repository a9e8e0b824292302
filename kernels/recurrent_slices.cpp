#include "recurrent_slices.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>

namespace secateur {
namespace {

constexpr std::size_t kKept = 3;
// What a unit costs besides its survivors, in survivors: its nonlinearities, forward and backward.
constexpr double kUnitCost = 40.0;

// The survivors of a matrix by line: operand and place of each, operands ascending.
struct Lines {
    std::vector<std::uint32_t> starts, operands, places;
};

Lines by_rows(const Pattern& pattern) {
    const std::size_t survivors = std::size_t(pattern.survivors());
    Lines lines;
    lines.starts.assign(pattern.row_starts(), pattern.row_starts() + pattern.rows() + 1);
    lines.operands.resize(survivors);
    lines.places.resize(survivors);
    for (std::size_t i = 0; i < survivors; ++i) lines.operands[i] = std::uint32_t(pattern.column(i));
    std::iota(lines.places.begin(), lines.places.end(), 0u);
    return lines;
}

Lines by_columns(const Pattern& pattern) {
    const std::size_t survivors = std::size_t(pattern.survivors());
    Lines lines;
    lines.starts.assign(std::size_t(pattern.columns()) + 1, 0);
    lines.operands.resize(survivors);
    lines.places.resize(survivors);
    for (std::size_t i = 0; i < survivors; ++i) ++lines.starts[std::size_t(pattern.column(i)) + 1];
    std::partial_sum(lines.starts.begin(), lines.starts.end(), lines.starts.begin());
    std::vector<std::uint32_t> next(lines.starts.begin(), lines.starts.end() - 1);
    for (std::int64_t row = 0; row < pattern.rows(); ++row)
        for (std::uint32_t i = pattern.row_starts()[row]; i < pattern.row_starts()[row + 1]; ++i) {
            const std::uint32_t at = next[std::size_t(pattern.column(i))]++;
            lines.operands[at] = std::uint32_t(row);
            lines.places[at] = i;
        }
    return lines;
}

// Units in panels of about equal work.
std::vector<std::uint32_t> panels_of_units(const Lines& lines, std::int64_t units, std::int64_t gates, int panels) {
    std::vector<double> before(std::size_t(units) + 1, 0.0);
    for (std::int64_t unit = 0; unit < units; ++unit) {
        double work = kUnitCost;
        for (std::int64_t gate = 0; gate < gates; ++gate) {
            const std::size_t line = std::size_t(gate * units + unit);
            work += double(lines.starts[line + 1] - lines.starts[line]);
        }
        before[std::size_t(unit) + 1] = before[std::size_t(unit)] + work;
    }
    std::vector<std::uint32_t> cuts;
    for (int panel = 0; panel <= panels; ++panel) {
        const double wanted = before.back() * panel / panels;
        cuts.push_back(std::uint32_t(std::lower_bound(before.begin(), before.end(), wanted - 1e-6) - before.begin()));
    }
    cuts.back() = std::uint32_t(units);
    return cuts;
}

// Add the slices of one piece; `chosen`: for each line of the chunk (numbered as the kernel sees it) its survivors in this block.
struct Part {
    std::uint32_t line, begin, end;
};

void add_piece(Slices& slices, const Lines& lines, std::vector<Part>& parts, std::uint32_t base) {
    std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.end - a.begin > b.end - b.begin; });
    SlicePiece piece{std::uint32_t(slices.slices.size()), 0, base};
    for (std::size_t first = 0; first < parts.size(); first += kSliceLines) {
        const std::size_t present = std::min<std::size_t>(kSliceLines, parts.size() - first);
        Slice slice{};
        slice.length = parts[first].end - parts[first].begin;
        slice.first = std::uint32_t(slices.places.size());
        // Additional lines repeat the last one and come before it: its own sums are stored last.
        Part four[kSliceLines];
        const Part& last = parts[first + present - 1];
        for (std::size_t i = 0; i < kSliceLines; ++i) {
            const bool additional = i >= present - 1 && i + 1 < kSliceLines;
            four[i] = i + 1 < present ? parts[first + i] : additional ? Part{last.line, last.begin, last.begin} : last;
            slice.line[i] = four[i].line;
        }
        for (std::uint32_t k = 0; k < slice.length; ++k)
            for (const Part& part : four) {
                const bool filled = part.begin + k >= part.end;
                slices.operands.push_back(filled ? 0 : std::uint16_t(lines.operands[part.begin + k] - base));
                slices.places.push_back(filled ? Slices::kFilling : lines.places[part.begin + k]);
            }
        slices.slices.push_back(slice);
        ++piece.slices;
    }
    slices.pieces.push_back(piece);
}

Slices make_slices(const Lines& lines, std::int64_t units, std::int64_t gates, std::int64_t operands, int panels, std::int64_t width,
                   std::int64_t units_of_chunk) {
    Slices slices;
    slices.panels = panels;
    width = std::clamp<std::int64_t>(width, 1, 65536);
    slices.blocks = std::max<std::int64_t>(1, (operands + width - 1) / width);
    const auto cuts = panels_of_units(lines, units, gates, panels);
    std::vector<std::uint32_t> next(lines.starts.begin(), lines.starts.end() - 1);
    std::vector<Part> parts;
    slices.panel_chunks.push_back(0);
    slices.panel_entries.push_back(0);
    for (int panel = 0; panel < panels; ++panel) {
        const std::int64_t first = cuts[std::size_t(panel)], last = cuts[std::size_t(panel) + 1];
        const std::int64_t chunks = (last - first + units_of_chunk - 1) / units_of_chunk;
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            const std::int64_t begin = first + (last - first) * chunk / chunks, end = first + (last - first) * (chunk + 1) / chunks;
            slices.chunks.push_back({std::uint32_t(begin), std::uint32_t(end)});
            for (std::int64_t block = 0; block < slices.blocks; ++block) {
                parts.clear();
                for (std::int64_t gate = 0; gate < gates; ++gate)
                    for (std::int64_t unit = begin; unit < end; ++unit) {
                        const std::size_t line = std::size_t(gate * units + unit);
                        const std::uint32_t from = next[line];
                        std::uint32_t to = from;
                        while (to < lines.starts[line + 1] && lines.operands[to] < (block + 1) * width) ++to;
                        next[line] = to;
                        if (from == to && block > 0) continue;
                        parts.push_back({std::uint32_t(gate * (end - begin) + unit - begin), from, to});
                    }
                add_piece(slices, lines, parts, std::uint32_t(block * width));
            }
        }
        slices.panel_chunks.push_back(std::uint32_t(slices.chunks.size()));
        slices.panel_entries.push_back(std::uint32_t(slices.places.size()));
    }
    return slices;
}

}  // namespace

std::uint32_t Slices::first_unit(int panel) const {
    const std::uint32_t chunk = panel_chunks[std::size_t(panel)];
    return chunk < panel_chunks[std::size_t(panel) + 1] ? chunks[chunk].first_unit : 0;
}

std::uint32_t Slices::last_unit(int panel) const {
    const std::uint32_t end = panel_chunks[std::size_t(panel) + 1];
    return end > panel_chunks[std::size_t(panel)] ? chunks[end - 1].last_unit : 0;
}

RecurrentMatrix::RecurrentMatrix(const Pattern& pattern, std::int64_t gates) : pattern_(pattern), gates_(gates) {
    if (pattern_.columns() < 1 || pattern_.rows() != gates * pattern_.columns())
        throw std::invalid_argument("a recurrent matrix of " + std::to_string(gates) + " gates has " + std::to_string(gates) +
                                    " times as many rows as columns, at least one; not shape (" + std::to_string(pattern_.rows()) + ", " +
                                    std::to_string(pattern_.columns()) + ")");
}

std::shared_ptr<const Slices> RecurrentMatrix::find_or_make(Kept& kept, const Key& key, bool forward) const {
    const std::lock_guard lock(building_);
    if (const auto found = kept.find(key); found != kept.end()) return found->second;
    if (kept.size() >= kKept) kept.erase(kept.begin());
    auto made = std::make_shared<const Slices>(
        forward ? make_slices(by_rows(pattern_), hidden(), gates_, hidden(), key.panels, key.width, key.units)
                : make_slices(by_columns(pattern_), hidden(), 1, gates_ * hidden(), key.panels, key.width, key.units));
    kept.emplace(key, made);
    return made;
}

std::shared_ptr<const Slices> RecurrentMatrix::forward(int panels, std::int64_t width, std::int64_t units) const {
    return find_or_make(forward_, {panels, std::min(width, hidden()), units}, true);
}

std::shared_ptr<const Slices> RecurrentMatrix::backward(int panels, std::int64_t width) const {
    return find_or_make(backward_, {panels, std::min(width, gates_ * hidden()), 1024}, false);
}

std::int64_t RecurrentMatrix::bytes() const {
    const std::lock_guard lock(building_);
    std::int64_t total = 0;
    for (const Kept* kept : {&forward_, &backward_})
        for (const auto& [key, slices] : *kept)
            total += std::int64_t(slices->slices.size() * sizeof(Slice) + slices->pieces.size() * sizeof(SlicePiece) +
                                  slices->operands.size() * 2 + slices->places.size() * 4);
    return total;
}

}  // namespace secateur
