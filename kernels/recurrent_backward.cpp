#include "flush_denormals.h"
#include "recurrent.h"
#include "recurrent_walk.h"
#include "scratch.h"

namespace secateur {
namespace {

// This thread's share of a pattern's rows, by survivors.
void share_rows(const Team& team, const Pattern& pattern, std::int64_t* first, std::int64_t* last) {
    const std::uint32_t* starts = pattern.row_starts();
    const auto cut = [&](int part) -> std::int64_t {
        if (part == team.size()) return pattern.rows();
        const std::int64_t wanted = pattern.survivors() * part / team.size();
        return std::lower_bound(starts, starts + pattern.rows(), std::uint32_t(wanted)) - starts;
    };
    *first = team.rank() == 0 ? 0 : cut(team.rank());
    *last = cut(team.rank() + 1);
}

template <class T>
class Backward {
  public:
    explicit Backward(const RecurrentBackward<T>& layer)
        : layer_(layer),
          steps_(*layer.steps),
          hidden_(layer.recurrent->hidden()),
          gates_(gates_of(layer.cell)),
          lanes_(steps_.lanes()),
          threads_(threads_for_steps(layer.recurrent->pattern().survivors(), gates_ * hidden_, lanes_, layer.threads)) {
        const std::int64_t number = sizeof(T);
        slices_ = layer.recurrent->backward(threads_, block_width(layer.recurrent->pattern().density(), lanes_ * number));
        if (layer.dx) plan_ = layer.input->gradient_plan(block_width(layer.input->density(), std::min<std::int64_t>(steps_.widest(), 128) * number), threads_,
                                                         primitives<T>().columns_at_once(int(steps_.widest())));
        Arena<T> arena;
        const bool gru = layer.cell == Cell::gru, lstm = layer.cell == Cell::lstm;
        const auto ordered = arena.reserve(std::int64_t(slices_->places.size()));
        const auto dh = arena.reserve(hidden_ * lanes_), dc = arena.reserve(lstm ? hidden_ * lanes_ : 0);
        const auto step = arena.reserve(gates_ * hidden_ * lanes_), other_step = arena.reserve(gates_ * hidden_ * lanes_);
        const auto tile = arena.reserve(gates_ * hidden_ * steps_.widest());
        const auto recurrent = arena.reserve(gru ? gates_ * hidden_ * steps_.widest() : 0);
        T* memory = scratch_of<T>(Slot::recurrent, std::size_t(arena.size()));
        ordered_ = memory + ordered;
        dh_ = memory + dh;
        dc_ = lstm ? memory + dc : nullptr;
        d_step_[0] = memory + step;
        d_step_[1] = memory + other_step;
        d_input_ = memory + tile;
        d_recurrent_ = gru ? memory + recurrent : d_input_;
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
        state_rows(team, layer_.dh_last, hidden_, steps_, dh_, lanes_);
        if (dc_) state_rows(team, layer_.dc_last, hidden_, steps_, dc_, lanes_);
        team.barrier();
        const Direction direction{steps_, !layer_.reverse};
        int current = 0;
        for (std::int64_t t = 0; t < direction.tiles(); ++t) {
            const StepTile& tile = direction.tile(t);
            for (int panel = first_panel; panel < last_panel; ++panel) clear_padding(tile, slices_->first_unit(panel), slices_->last_unit(panel));
            for (std::int64_t i = 0; i < direction.count(tile); ++i) {
                const Step& step = direction.step(tile, i);
                T* d_step = d_step_[current];
                for (int panel = first_panel; panel < last_panel; ++panel)
                    step_units(tile, step, slices_->first_unit(panel), slices_->last_unit(panel), d_step);
                team.barrier();
                for (int panel = first_panel; panel < last_panel; ++panel)
                    for (std::size_t chunk = slices_->panel_chunks[std::size_t(panel)]; chunk < slices_->panel_chunks[std::size_t(panel) + 1]; ++chunk)
                        chunk_product(*slices_, chunk, ordered_, d_step, lanes_, dh_ + slices_->chunks[chunk].first_unit * lanes_, lanes_, true,
                                      step.lanes);
                current = 1 - current;
            }
            gradients_of_tile(team, tile, t > 0);
            team.barrier();
        }
        rows_to_state(team, dh_, hidden_, steps_, lanes_, layer_.dh_first);
        if (dc_) rows_to_state(team, dc_, hidden_, steps_, lanes_, layer_.dc_first);
    }

    void step_units(const StepTile& tile, const Step& step, std::int64_t first, std::int64_t last, T* d_step) const {
        const std::int64_t at = first * tile.width + step.offset, in_hidden = hidden_ * tile.first_column + at;
        CellBackward<T> cell{};
        cell.units = last - first;
        cell.lanes = step.lanes;
        cell.active = step.count;
        cell.gates = layer_.gates + saved_of(layer_.cell) * hidden_ * tile.first_column + at;
        cell.ld_gates = tile.width;
        cell.gate_gates = hidden_ * tile.width;
        cell.before_h = layer_.before_h + in_hidden;
        cell.before_c = layer_.before_c ? layer_.before_c + in_hidden : nullptr;
        cell.dy = layer_.dy ? layer_.dy + layer_.y_features * tile.first_column + layer_.y_first * tile.width + at : nullptr;
        cell.dh = dh_ + first * lanes_;
        cell.dc = dc_ ? dc_ + first * lanes_ : nullptr;
        cell.ld_state = lanes_;
        cell.d_gates = d_input_ + at;
        cell.d_recurrent = d_recurrent_ == d_input_ ? nullptr : d_recurrent_ + at;
        cell.d_step = d_step + first * lanes_;
        cell.ld_step = lanes_;
        cell.gate_step = hidden_ * lanes_;
        recurrent_primitives<T>().cell_backward(layer_.cell, cell);
    }

    void gradients_of_tile(const Team& team, const StepTile& tile, bool add) const {
        sample(team, *layer_.input, layer_.x + layer_.input->columns() * tile.first_column, d_input_, tile.width, add, layer_.dvalues_input);
        sample(team, layer_.recurrent->pattern(), layer_.before_h + hidden_ * tile.first_column, d_recurrent_, tile.width, add,
               layer_.dvalues_recurrent);
        sum_rows(team, d_input_, tile.width, add, layer_.dbias_input);
        sum_rows(team, d_recurrent_, tile.width, add, layer_.dbias_recurrent);
        if (layer_.dx) gradient_of_input(team, tile);
    }

    void sample(const Team& team, const Pattern& pattern, const T* x, const T* dy, std::int64_t width, bool add, T* dvalues) const {
        if (!dvalues) return;
        SampledRows<T> task{};
        share_rows(team, pattern, &task.first_row, &task.last_row);
        task.row_starts = pattern.row_starts();
        task.low_columns = pattern.low_columns();
        task.high_columns = pattern.high_columns();
        task.x = x;
        task.dy = dy;
        task.ld_x = task.ld_dy = task.width = width;
        task.add = add;
        task.dvalues = dvalues;
        recurrent_primitives<T>().sampled_rows(task);
    }

    void sum_rows(const Team& team, const T* rows, std::int64_t width, bool add, T* sums) const {
        if (!sums) return;
        std::int64_t first, last;
        team.share(gates_ * hidden_, first, last);
        primitives<T>().row_sums(rows + first * width, width, last - first, width, add, sums + first);
    }

    void gradient_of_input(const Team& team, const StepTile& tile) const {
        int first, last;
        team.share(plan_->panels, first, last);
        for (int panel = first; panel < last; ++panel) {
            if (plan_->panel_lines[std::size_t(panel)] == plan_->panel_lines[std::size_t(panel) + 1]) continue;
            Gradients<T> task{};
            task.plan = plan_->view();
            task.values = layer_.values_input;
            task.dy = d_input_;
            task.ld_dy = tile.width;
            task.dx = layer_.dx + layer_.input->columns() * tile.first_column;
            task.ld_dx = tile.width;
            task.add_dx = layer_.add_dx;
            task.tile = int(tile.width);
            primitives<T>().gradients(task, panel);
        }
    }

    void clear_padding(const StepTile& tile, std::int64_t first, std::int64_t last) const {
        const std::int64_t used = used_columns(steps_, tile);
        for (std::int64_t gate = 0; gate < gates_; ++gate) {
            clear_columns(d_input_, tile.width, gate * hidden_ + first, gate * hidden_ + last, used);
            if (d_recurrent_ != d_input_) clear_columns(d_recurrent_, tile.width, gate * hidden_ + first, gate * hidden_ + last, used);
        }
    }

    const RecurrentBackward<T>& layer_;
    const Steps& steps_;
    const std::int64_t hidden_, gates_, lanes_;
    const int threads_;
    std::shared_ptr<const Slices> slices_;
    std::shared_ptr<const Plan> plan_;
    T *ordered_, *dh_, *dc_, *d_step_[2], *d_input_, *d_recurrent_;
};

}  // namespace

template <class T>
void recurrent_backward(const RecurrentBackward<T>& layer) {
    Backward<T>(layer).run();
}

template void recurrent_backward<float>(const RecurrentBackward<float>&);
template void recurrent_backward<double>(const RecurrentBackward<double>&);

}  // namespace secateur
