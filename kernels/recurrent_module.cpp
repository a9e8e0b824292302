// Python's face of the recurrent layers.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>

#include "recurrent.h"
#include "tensor_view.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

Cell cell_named(const std::string& name) {
    if (name == "lstm") return Cell::lstm;
    if (name == "gru") return Cell::gru;
    if (name == "tanh") return Cell::tanh;
    if (name == "relu") return Cell::relu;
    throw std::invalid_argument("a cell is 'lstm', 'gru', 'tanh' or 'relu', not '" + name + "'");
}

// Steps for one dtype: the padding is another for float64.
struct SequenceSteps {
    Steps steps;
    Number number;
};

// One direction of one layer: what its calls share.
struct Recurrence {
    Cell cell;
    const Pattern& input;
    RecurrentMatrix recurrent;

    Recurrence(const std::string& name, const Pattern& ih, const Pattern& hh) : cell(cell_named(name)), input(ih), recurrent(hh, gates_of(cell)) {
        if (ih.rows() != hh.rows()) throw std::invalid_argument("the matrices of a recurrent layer have equally many rows");
    }
};

int checked_threads(int threads) {
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
    return threads;
}

// The memory of tensors of one dtype on behalf of one call.
template <class T>
struct View {
    Number number;
    const Steps& steps;

    T* of(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape) const {
        return static_cast<T*>(memory_or_null(tensor, name, number, shape));
    }
    T* needed(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape) const {
        return static_cast<T*>(memory_of(tensor, name, number, shape));
    }
    T* tiled(nb::handle tensor, const char* name, std::int64_t features) const { return of(tensor, name, {features, steps.columns()}); }
};

template <class T>
void forward_of(const Recurrence& layer, const SequenceSteps& sequence, bool reverse, nb::handle values_input, nb::handle values_recurrent,
                nb::handle bias_input, nb::handle bias_recurrent, nb::handle x, nb::handle h_first, nb::handle c_first, nb::handle gates,
                nb::handle before_h, nb::handle before_c, nb::handle y, std::int64_t y_first, nb::handle h_last, nb::handle c_last, int threads) {
    const Pattern& recurrent = layer.recurrent.pattern();
    const std::int64_t hidden = layer.recurrent.hidden(), batch = sequence.steps.batch();
    const View<T> view{sequence.number, sequence.steps};
    const bool lstm = layer.cell == Cell::lstm;
    RecurrentForward<T> task{};
    task.cell = layer.cell;
    task.steps = &sequence.steps;
    task.reverse = reverse;
    task.input = &layer.input;
    task.recurrent = &layer.recurrent;
    task.values_input = view.needed(values_input, "values_input", {layer.input.survivors()});
    task.values_recurrent = view.needed(values_recurrent, "values_recurrent", {recurrent.survivors()});
    task.bias_input = view.of(bias_input, "bias_input", {recurrent.rows()});
    task.bias_recurrent = view.of(bias_recurrent, "bias_recurrent", {recurrent.rows()});
    task.x = view.needed(x, "x", {layer.input.columns(), sequence.steps.columns()});
    task.h_first = view.of(h_first, "h_first", {batch, hidden});
    task.gates = view.tiled(gates, "gates", saved_of(layer.cell) * hidden);
    task.before_h = view.tiled(before_h, "before_h", hidden);
    task.before_c = view.tiled(before_c, "before_c", hidden);
    if ((task.gates != nullptr) != (task.before_h != nullptr) || (task.before_c != nullptr) != (lstm && task.gates))
        throw std::invalid_argument("gates and before_h are saved together, before_c with them for an LSTM alone");
    task.y_features = length_of(y, "y", 2, 0);
    task.y_first = y_first;
    if (y_first < 0 || y_first + hidden > task.y_features) throw std::invalid_argument("y has no rows for this direction");
    task.y = view.needed(y, "y", {task.y_features, sequence.steps.columns()});
    task.h_last = view.needed(h_last, "h_last", {batch, hidden});
    if (lstm) {
        task.c_first = view.of(c_first, "c_first", {batch, hidden});
        task.c_last = view.needed(c_last, "c_last", {batch, hidden});
    }
    task.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    recurrent_forward(task);
}

template <class T>
void backward_of(const Recurrence& layer, const SequenceSteps& sequence, bool reverse, nb::handle values_input, nb::handle values_recurrent,
                 nb::handle x, nb::handle gates, nb::handle before_h, nb::handle before_c, nb::handle dy, std::int64_t y_features,
                 std::int64_t y_first, nb::handle dh_last, nb::handle dc_last, nb::handle dx, bool add_dx, nb::handle dvalues_input,
                 nb::handle dvalues_recurrent, nb::handle dbias_input, nb::handle dbias_recurrent, nb::handle dh_first, nb::handle dc_first,
                 int threads) {
    const Pattern& recurrent = layer.recurrent.pattern();
    const std::int64_t hidden = layer.recurrent.hidden(), batch = sequence.steps.batch();
    const View<T> view{sequence.number, sequence.steps};
    const bool lstm = layer.cell == Cell::lstm;
    RecurrentBackward<T> task{};
    task.cell = layer.cell;
    task.steps = &sequence.steps;
    task.reverse = reverse;
    task.input = &layer.input;
    task.recurrent = &layer.recurrent;
    task.values_input = view.needed(values_input, "values_input", {layer.input.survivors()});
    task.values_recurrent = view.needed(values_recurrent, "values_recurrent", {recurrent.survivors()});
    task.x = view.needed(x, "x", {layer.input.columns(), sequence.steps.columns()});
    task.gates = view.needed(gates, "gates", {saved_of(layer.cell) * hidden, sequence.steps.columns()});
    task.before_h = view.needed(before_h, "before_h", {hidden, sequence.steps.columns()});
    if (lstm) task.before_c = view.needed(before_c, "before_c", {hidden, sequence.steps.columns()});
    task.y_features = y_features;
    task.y_first = y_first;
    if (y_first < 0 || y_first + hidden > y_features) throw std::invalid_argument("dy has no rows for this direction");
    task.dy = view.tiled(dy, "dy", y_features);
    task.dh_last = view.of(dh_last, "dh_last", {batch, hidden});
    task.dx = view.tiled(dx, "dx", layer.input.columns());
    task.add_dx = add_dx;
    task.dvalues_input = view.of(dvalues_input, "dvalues_input", {layer.input.survivors()});
    task.dvalues_recurrent = view.of(dvalues_recurrent, "dvalues_recurrent", {recurrent.survivors()});
    task.dbias_input = view.of(dbias_input, "dbias_input", {recurrent.rows()});
    task.dbias_recurrent = view.of(dbias_recurrent, "dbias_recurrent", {recurrent.rows()});
    task.dh_first = view.of(dh_first, "dh_first", {batch, hidden});
    if (lstm) {
        task.dc_last = view.of(dc_last, "dc_last", {batch, hidden});
        task.dc_first = view.of(dc_first, "dc_first", {batch, hidden});
    }
    task.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    recurrent_backward(task);
}

template <class T>
void move_edge(const SequenceSteps& sequence, const std::string& arrangement, nb::handle outside, nb::handle tiled, bool inwards, int threads) {
    const Steps& steps = sequence.steps;
    const std::int64_t count = std::int64_t(steps.steps().size()), batch = steps.batch();
    const View<T> view{sequence.number, steps};
    TileEdge<T> edge{};
    edge.steps = &steps;
    edge.features = length_of(tiled, "tiled", 2, 0);
    edge.tiled = view.needed(tiled, "tiled", {edge.features, steps.columns()});
    if (arrangement != "packed" && !steps.even()) throw std::invalid_argument("steps of different numbers of examples are packed");
    if (arrangement == "packed")
        edge.outside = view.needed(outside, "outside", {steps.examples(), edge.features});
    else if (arrangement == "steps")
        edge.outside = view.needed(outside, "outside", {count, batch, edge.features});
    else if (arrangement == "batch")
        edge.outside = view.needed(outside, "outside", {batch, count, edge.features}), edge.arrangement = Arrangement::batch_first;
    else if (arrangement == "feature")
        edge.outside = view.needed(outside, "outside", {edge.features, count, batch}), edge.arrangement = Arrangement::feature_first;
    else
        throw std::invalid_argument("an arrangement is 'steps', 'batch', 'feature' or 'packed', not '" + arrangement + "'");
    edge.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    inwards ? into_tiles(edge) : out_of_tiles(edge);
}

void move_edge_of(const SequenceSteps& sequence, const std::string& arrangement, nb::handle outside, nb::handle tiled, bool inwards, int threads) {
    (sequence.number == Number::single ? move_edge<float> : move_edge<double>)(sequence, arrangement, outside, tiled, inwards, threads);
}

}  // namespace

void bind_recurrent(nb::module_& module) {
    nb::class_<SequenceSteps>(module, "Steps", "Where the steps of a sequence lie in tiles; immutable.")
        .def(nb::new_([](const std::vector<std::int64_t>& counts, bool twofold) {
                 return std::make_unique<SequenceSteps>(Steps(counts, twofold ? 2 : 4), twofold ? Number::twofold : Number::single);
             }),
             "counts"_a, "twofold"_a)
        .def_prop_ro("columns", [](const SequenceSteps& sequence) { return sequence.steps.columns(); })
        .def("into_tiles",
             [](const SequenceSteps& sequence, const std::string& arrangement, nb::handle outside, nb::handle tiled, int threads) {
                 move_edge_of(sequence, arrangement, outside, tiled, true, threads);
             },
             "arrangement"_a, "outside"_a, "tiled"_a, "threads"_a)
        .def("out_of_tiles",
             [](const SequenceSteps& sequence, const std::string& arrangement, nb::handle tiled, nb::handle outside, int threads) {
                 move_edge_of(sequence, arrangement, outside, tiled, false, threads);
             },
             "arrangement"_a, "tiled"_a, "outside"_a, "threads"_a);
    nb::class_<Recurrence>(module, "Recurrence", "One direction of one recurrent layer; safe to share between threads.")
        .def(nb::init<const std::string&, const Pattern&, const Pattern&>(), "cell"_a, "input"_a, "recurrent"_a, nb::keep_alive<1, 3>(),
             nb::keep_alive<1, 4>())
        .def_prop_ro("rows", [](const Recurrence& layer) { return layer.input.rows(); })
        .def_prop_ro("saved_rows", [](const Recurrence& layer) { return saved_of(layer.cell) * layer.recurrent.hidden(); })
        .def_prop_ro("nbytes", [](const Recurrence& layer) { return layer.recurrent.bytes(); })
        .def("forward",
             [](const Recurrence& layer, const SequenceSteps& steps, bool reverse, nb::handle values_input, nb::handle values_recurrent,
                nb::handle bias_input, nb::handle bias_recurrent, nb::handle x, nb::handle h_first, nb::handle c_first, nb::handle gates,
                nb::handle before_h, nb::handle before_c, nb::handle y, std::int64_t y_first, nb::handle h_last, nb::handle c_last, int threads) {
                 (steps.number == Number::single ? forward_of<float> : forward_of<double>)(
                     layer, steps, reverse, values_input, values_recurrent, bias_input, bias_recurrent, x, h_first, c_first, gates, before_h,
                     before_c, y, y_first, h_last, c_last, threads);
             },
             "steps"_a, "reverse"_a, "values_input"_a, "values_recurrent"_a, "bias_input"_a.none(), "bias_recurrent"_a.none(), "x"_a,
             "h_first"_a.none(), "c_first"_a.none(), "gates"_a.none(), "before_h"_a.none(), "before_c"_a.none(), "y"_a, "y_first"_a, "h_last"_a,
             "c_last"_a.none(), "threads"_a)
        .def("backward",
             [](const Recurrence& layer, const SequenceSteps& steps, bool reverse, nb::handle values_input, nb::handle values_recurrent, nb::handle x,
                nb::handle gates, nb::handle before_h, nb::handle before_c, nb::handle dy, std::int64_t y_features, std::int64_t y_first,
                nb::handle dh_last, nb::handle dc_last, nb::handle dx, bool add_dx, nb::handle dvalues_input, nb::handle dvalues_recurrent,
                nb::handle dbias_input, nb::handle dbias_recurrent, nb::handle dh_first, nb::handle dc_first, int threads) {
                 (steps.number == Number::single ? backward_of<float> : backward_of<double>)(
                     layer, steps, reverse, values_input, values_recurrent, x, gates, before_h, before_c, dy, y_features, y_first, dh_last, dc_last,
                     dx, add_dx, dvalues_input, dvalues_recurrent, dbias_input, dbias_recurrent, dh_first, dc_first, threads);
             },
             "steps"_a, "reverse"_a, "values_input"_a, "values_recurrent"_a, "x"_a, "gates"_a, "before_h"_a, "before_c"_a.none(), "dy"_a.none(),
             "y_features"_a, "y_first"_a, "dh_last"_a.none(), "dc_last"_a.none(), "dx"_a.none(), "add_dx"_a, "dvalues_input"_a.none(),
             "dvalues_recurrent"_a.none(), "dbias_input"_a.none(), "dbias_recurrent"_a.none(), "dh_first"_a.none(), "dc_first"_a.none(), "threads"_a);
}

}  // namespace secateur
