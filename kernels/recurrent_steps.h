// Where each step of a sequence lies in memory while recurrent layers work on it.
//
// Activations of all steps are feature-major in tiles: a tile holds a few steps, one row a feature, the examples of its steps
// side by side. So a product over all steps has long rows, and one step's rows lie close together. The examples of a step are
// padded to `granule`, a tile to four of them; padding is zero.
#pragma once

#include <cstdint>
#include <vector>

namespace secateur {

struct Step {
    std::int64_t tile, offset;  // its first column within the tile
    std::int64_t count;         // examples
    std::int64_t lanes;         // columns: examples and padding
    std::int64_t first;         // examples of earlier steps: where the step begins in a packed sequence
};

struct StepTile {
    std::int64_t first_column, width;  // of the numbers of one feature; a tile of F features begins at F * first_column, its rows `width` apart
    std::int64_t first_step, last_step;  // [first, last)
};

class Steps {
  public:
    // `counts`: the examples of each step, positive, never ascending. `granule`: numbers in 16 bytes.
    Steps(const std::vector<std::int64_t>& counts, std::int64_t granule);

    const std::vector<Step>& steps() const { return steps_; }
    const std::vector<StepTile>& tiles() const { return tiles_; }
    std::int64_t batch() const { return steps_.front().count; }
    std::int64_t lanes() const { return steps_.front().lanes; }
    std::int64_t granule() const { return granule_; }
    std::int64_t examples() const { return steps_.back().first + steps_.back().count; }
    std::int64_t columns() const { return tiles_.back().first_column + tiles_.back().width; }
    std::int64_t widest() const;
    bool even() const { return steps_.back().count == batch(); }  // every step has all examples

  private:
    std::int64_t granule_;
    std::vector<Step> steps_;
    std::vector<StepTile> tiles_;
};

}  // namespace secateur
