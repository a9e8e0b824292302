#include <cstring>

#include "flush_denormals.h"
#include "recurrent.h"
#include "recurrent_walk.h"
#include "scratch.h"

namespace secateur {
namespace {

// The biases that the input's product starts from: both, but for what a GRU's reset gate multiplies.
template <class T>
void sum_biases(const RecurrentForward<T>& layer, std::int64_t hidden, T* bias) {
    const std::int64_t rows = gates_of(layer.cell) * hidden, both = layer.cell == Cell::gru ? 2 * hidden : rows;
    for (std::int64_t row = 0; row < rows; ++row) {
        bias[row] = layer.bias_input ? layer.bias_input[row] : T(0);
        if (layer.bias_recurrent && row < both) bias[row] += layer.bias_recurrent[row];
    }
}

template <class T>
class Forward {
  public:
    explicit Forward(const RecurrentForward<T>& layer)
        : layer_(layer),
          steps_(*layer.steps),
          hidden_(layer.recurrent->hidden()),
          gates_(gates_of(layer.cell)),
          lanes_(steps_.lanes()),
          threads_(threads_for_steps(layer.recurrent->pattern().survivors(), gates_ * hidden_, lanes_, layer.threads)) {
        const std::int64_t row = lanes_ * std::int64_t(sizeof(T));
        // The sums of a chunk stay in the first-level cache until their nonlinearities are done.
        units_ = std::clamp<std::int64_t>(power_of_two_below(std::max<std::int64_t>(1, kFirstLevelCache / (2 * gates_ * row))), 8, 256);
        slices_ = layer.recurrent->forward(threads_, block_width(layer.recurrent->pattern().density(), row), units_);
        plan_ = layer.input->product_plan(block_width(layer.input->density(), std::min<std::int64_t>(steps_.widest(), 128) * std::int64_t(sizeof(T))),
                                          threads_);
        Arena<T> arena;
        const auto ordered = arena.reserve(std::int64_t(slices_->places.size())), bias = arena.reserve(gates_ * hidden_);
        const auto h = arena.reserve(hidden_ * lanes_), h_new = arena.reserve(hidden_ * lanes_);
        const auto c = arena.reserve(layer.cell == Cell::lstm ? hidden_ * lanes_ : 0);
        const auto tile = arena.reserve(layer.gates ? 0 : saved_of(layer.cell) * hidden_ * steps_.widest());
        T* memory = scratch_of<T>(Slot::recurrent, std::size_t(arena.size()));
        ordered_ = memory + ordered;
        bias_ = memory + bias;
        h_[0] = memory + h;
        h_[1] = memory + h_new;
        c_ = layer.cell == Cell::lstm ? memory + c : nullptr;
        unsaved_ = memory + tile;
    }

    void run() {
        parallel(threads_, [&](Team& team) { work(team); });
    }

  private:
    void work(Team& team) {
        const FlushDenormals flushed;
        int first_panel, last_panel;
        team.share(slices_->panels, first_panel, last_panel);
        for (int panel = first_panel; panel < last_panel; ++panel) order_values(*slices_, panel, layer_.values_recurrent, ordered_);
        state_rows(team, layer_.h_first, hidden_, steps_, h_[0], lanes_);
        if (c_) state_rows(team, layer_.c_first, hidden_, steps_, c_, lanes_);
        if (team.rank() == 0) sum_biases(layer_, hidden_, bias_);
        T* sums = scratch_of<T>(Slot::output, std::size_t(units_ * gates_ * lanes_));
        team.barrier();
        const Direction direction{steps_, layer_.reverse};
        int current = 0;
        for (std::int64_t t = 0; t < direction.tiles(); ++t) {
            const StepTile& tile = direction.tile(t);
            T* gates = layer_.gates ? layer_.gates + saved_of(layer_.cell) * hidden_ * tile.first_column : unsaved_;
            project_input(team, tile, gates);
            team.barrier();
            for (std::int64_t i = 0; i < direction.count(tile); ++i) {
                for (int panel = first_panel; panel < last_panel; ++panel)
                    for (auto chunk = slices_->panel_chunks[std::size_t(panel)]; chunk < slices_->panel_chunks[std::size_t(panel) + 1]; ++chunk)
                        step_units(tile, direction.step(tile, i), chunk, gates, h_[current], h_[1 - current], sums);
                team.barrier();
                current = 1 - current;
            }
            for (int panel = first_panel; panel < last_panel; ++panel) clear_padding(tile, slices_->first_unit(panel), slices_->last_unit(panel));
        }
        rows_to_state(team, h_[current], hidden_, steps_, lanes_, layer_.h_last);
        if (c_) rows_to_state(team, c_, hidden_, steps_, lanes_, layer_.c_last);
    }

    void project_input(const Team& team, const StepTile& tile, T* gates) const {
        int first, last;
        team.share(plan_->panels, first, last);
        for (int panel = first; panel < last; ++panel) {
            if (plan_->panel_lines[std::size_t(panel)] == plan_->panel_lines[std::size_t(panel) + 1]) continue;
            Product<T> product{};
            product.plan = plan_->view();
            product.low_columns = layer_.input->low_columns();
            product.values = layer_.values_input;
            product.x = layer_.x + layer_.input->columns() * tile.first_column;
            product.ld_x = tile.width;
            product.y = gates;
            product.ld_y = tile.width;
            product.bias = bias_;
            product.start = Start::bias;
            product.tile = int(tile.width);
            primitives<T>().product(product, panel);
        }
    }

    void step_units(const StepTile& tile, const Step& step, std::size_t index, T* gates, const T* h, T* h_new, T* sums) const {
        const Chunk& chunk = slices_->chunks[index];
        const std::int64_t first = chunk.first_unit, units = chunk.last_unit - first;
        chunk_product(*slices_, index, ordered_, h, lanes_, sums, lanes_, false, step.lanes);
        CellForward<T> cell{};
        cell.units = units;
        cell.lanes = step.lanes;
        cell.active = step.count;
        cell.sums = sums;
        cell.ld_sums = lanes_;
        cell.gate_sums = units * lanes_;
        cell.gates = gates + first * tile.width + step.offset;
        cell.ld_gates = tile.width;
        cell.gate_gates = hidden_ * tile.width;
        cell.bias = layer_.cell == Cell::gru && layer_.bias_recurrent ? layer_.bias_recurrent + 2 * hidden_ + first : nullptr;
        cell.h = h + first * lanes_;
        cell.h_new = h_new + first * lanes_;
        cell.c = c_ ? c_ + first * lanes_ : nullptr;
        cell.ld_state = lanes_;
        const std::int64_t in_tile = hidden_ * tile.first_column + first * tile.width + step.offset;
        cell.before_h = layer_.before_h ? layer_.before_h + in_tile : nullptr;
        cell.before_c = layer_.before_c ? layer_.before_c + in_tile : nullptr;
        cell.y = layer_.y + layer_.y_features * tile.first_column + (layer_.y_first + first) * tile.width + step.offset;
        recurrent_primitives<T>().cell_forward(layer_.cell, cell);
        if (step.lanes < lanes_)  // these examples have ended, or have not begun
            for (std::int64_t row = first; row < first + units; ++row)
                std::memcpy(h_new + row * lanes_ + step.lanes, h + row * lanes_ + step.lanes, std::size_t(lanes_ - step.lanes) * sizeof(T));
    }

    void clear_padding(const StepTile& tile, std::int64_t first, std::int64_t last) const {
        const std::int64_t used = used_columns(steps_, tile);
        clear_columns(layer_.y + layer_.y_features * tile.first_column, tile.width, layer_.y_first + first, layer_.y_first + last, used);
        if (layer_.before_h) clear_columns(layer_.before_h + hidden_ * tile.first_column, tile.width, first, last, used);
    }

    const RecurrentForward<T>& layer_;
    const Steps& steps_;
    const std::int64_t hidden_, gates_, lanes_;
    const int threads_;
    std::int64_t units_;
    std::shared_ptr<const Slices> slices_;
    std::shared_ptr<const Plan> plan_;
    T *ordered_, *bias_, *h_[2], *c_, *unsaved_;
};

}  // namespace

template <class T>
void recurrent_forward(const RecurrentForward<T>& layer) {
    Forward<T>(layer).run();
}

template void recurrent_forward<float>(const RecurrentForward<float>&);
template void recurrent_forward<double>(const RecurrentForward<double>&);

}  // namespace secateur
