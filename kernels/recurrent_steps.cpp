#include "recurrent_steps.h"

#include <algorithm>
#include <stdexcept>

namespace secateur {
namespace {

std::int64_t rounded(std::int64_t number, std::int64_t unit) { return (number + unit - 1) / unit * unit; }

// The work of a product over a tile, in vectors: each walk over the survivors takes up to four vectors and costs two more.
std::int64_t work_of(std::int64_t width, std::int64_t vector) {
    const std::int64_t vectors = width / vector;
    return vectors / 4 * 6 + (vectors % 4 ? vectors % 4 + 2 : 0);
}

}  // namespace

Steps::Steps(const std::vector<std::int64_t>& counts, std::int64_t granule) : granule_(granule) {
    if (counts.empty()) throw std::invalid_argument("a sequence has at least one step");
    std::int64_t before = counts.front(), first = 0;
    for (const std::int64_t count : counts) {
        if (count < 1 || count > before) throw std::invalid_argument("the examples of each step are at least one and never more than before");
        steps_.push_back({0, 0, count, rounded(count, granule), first});
        first += count;
        before = count;
    }
    const std::int64_t vector = 4 * granule;
    std::int64_t best = 0;
    // Wider tiles would make longer walks, but a wide layer's gates of one tile then no longer fit the second-level cache.
    for (const std::int64_t vectors : {1, 2, 3, 4}) {
        const std::int64_t cap = std::max(vectors * vector, rounded(lanes(), vector));
        std::vector<StepTile> tiles;
        std::int64_t work = 0, column = 0;
        for (std::size_t begin = 0; begin < steps_.size();) {
            std::size_t end = begin;
            std::int64_t used = 0;
            while (end < steps_.size() && used + steps_[end].lanes <= cap) used += steps_[end++].lanes;
            const std::int64_t width = rounded(used, vector);
            tiles.push_back({column, width, std::int64_t(begin), std::int64_t(end)});
            work += work_of(width, vector);
            column += width;
            begin = end;
        }
        if (tiles_.empty() || work < best) {
            best = work;
            tiles_ = std::move(tiles);
        }
    }
    for (std::size_t tile = 0; tile < tiles_.size(); ++tile) {
        std::int64_t offset = 0;
        for (auto step = tiles_[tile].first_step; step < tiles_[tile].last_step; ++step) {
            steps_[std::size_t(step)].tile = std::int64_t(tile);
            steps_[std::size_t(step)].offset = offset;
            offset += steps_[std::size_t(step)].lanes;
        }
    }
}

std::int64_t Steps::widest() const {
    std::int64_t widest = 0;
    for (const StepTile& tile : tiles_) widest = std::max(widest, tile.width);
    return widest;
}

}  // namespace secateur
