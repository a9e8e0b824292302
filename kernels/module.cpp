// Python's face of the sparse kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "chain.h"
#include "conv.h"
#include "embedding.h"
#include "linear.h"
#include "parallel.h"
#include "pattern.h"
#include "primitives.h"
#include "tensor_view.h"
#include "words.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

using Indices = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

std::unique_ptr<Pattern> make_pattern(std::int64_t rows, std::int64_t columns, Indices row_starts, Indices column_of) {
    if (std::int64_t(row_starts.shape(0)) != rows + 1) throw std::invalid_argument("row_starts must hold rows + 1 numbers");
    std::vector<std::uint32_t> starts(row_starts.shape(0));
    for (std::size_t i = 0; i < starts.size(); ++i) {
        const std::int64_t start = row_starts.data()[i];
        if (start < 0 || start > std::int64_t(column_of.shape(0)) || start >= std::numeric_limits<std::uint32_t>::max())
            throw std::invalid_argument("row_starts must lie between 0 and the number of survivors, below 2**32 - 1");
        starts[i] = std::uint32_t(start);
    }
    if (std::size_t(starts.back()) != column_of.shape(0)) throw std::invalid_argument("row_starts must end with the number of survivors");
    return std::make_unique<Pattern>(rows, columns, std::move(starts), column_of.data());
}

int checked_threads(int threads) {
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
    return threads;
}

template <class T>
nb::object forward_of(const Pattern& pattern, Number number, nb::handle values, nb::handle bias, nb::handle x, bool feature_major, bool relu,
                      int threads) {
    const std::int64_t batch = length_of(x, "x", 2, feature_major ? 1 : 0);
    const auto shape = [&](std::int64_t features) {
        return feature_major ? std::pair{features, batch} : std::pair{batch, features};
    };
    const auto [x0, x1] = shape(pattern.columns());
    LinearForward<T> layer{};
    layer.pattern = &pattern;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.bias = static_cast<const T*>(memory_or_null(bias, "bias", number, {pattern.rows()}));
    layer.x = static_cast<const T*>(memory_of(x, "x", number, {x0, x1}));
    layer.feature_major = feature_major;
    layer.batch = batch;
    layer.relu = relu;
    layer.threads = checked_threads(threads);
    const auto [y0, y1] = shape(pattern.rows());
    nb::object y = new_tensor(x, number, {y0, y1}, &layer.y);
    {
        const nb::gil_scoped_release released;
        linear_forward(layer);
    }
    return y;
}

template <class T>
nb::tuple backward_of(const Pattern& pattern, Number number, nb::handle values, nb::handle x, nb::handle dy, nb::handle y, bool needs_x,
                      bool needs_values, bool needs_bias, bool feature_major, int threads) {
    const std::int64_t batch = length_of(dy, "dy", 2, feature_major ? 1 : 0);
    const auto shape = [&](std::int64_t features) {
        return feature_major ? std::pair{features, batch} : std::pair{batch, features};
    };
    const auto [x0, x1] = shape(pattern.columns());
    const auto [y0, y1] = shape(pattern.rows());
    LinearBackward<T> layer{};
    layer.pattern = &pattern;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.dy = static_cast<const T*>(memory_of(dy, "dy", number, {y0, y1}));
    layer.y = static_cast<const T*>(memory_or_null(y, "y", number, {y0, y1}));
    if (needs_values) layer.x = static_cast<const T*>(memory_of(x, "x", number, {x0, x1}));
    layer.feature_major = feature_major;
    layer.batch = batch;
    layer.threads = checked_threads(threads);
    const nb::object dx = needs_x ? new_tensor(dy, number, {x0, x1}, &layer.dx) : nb::none();
    const nb::object dvalues = needs_values ? new_tensor(dy, number, {pattern.survivors()}, &layer.dvalues) : nb::none();
    const nb::object dbias = needs_bias ? new_tensor(dy, number, {pattern.rows()}, &layer.dbias) : nb::none();
    {
        const nb::gil_scoped_release released;
        linear_backward(layer);
    }
    return nb::make_tuple(dx, dvalues, dbias);
}

// One layer of a chain as Python gives it: (pattern, values, bias or None, relu).
using Link = std::tuple<const Pattern*, nb::handle, nb::handle, bool>;

template <class T>
nb::object chain_of(const std::vector<Link>& links, Number number, nb::handle x, int threads) {
    const std::int64_t batch = length_of(x, "x", 2, 0);
    std::vector<ChainLayer<T>> layers;
    for (const auto& [pattern, values, bias, relu] : links) {
        if (!pattern) throw nb::type_error("a layer of a chain has a pattern");
        if (!layers.empty() && pattern->columns() != layers.back().pattern->rows())
            throw std::invalid_argument("each layer of a chain takes what the one before it gives");
        layers.push_back({pattern, static_cast<const T*>(memory_of(values, "values", number, {pattern->survivors()})),
                          static_cast<const T*>(memory_or_null(bias, "bias", number, {pattern->rows()})), relu});
    }
    const auto* from = static_cast<const T*>(memory_of(x, "x", number, {batch, layers.front().pattern->columns()}));
    checked_threads(threads);
    T* to;
    nb::object y = new_tensor(x, number, {batch, layers.back().pattern->rows()}, &to);
    {
        const nb::gil_scoped_release released;
        chain_forward(layers, from, batch, to, threads);
    }
    return y;
}

// The shape of a convolution whose input is `x`, checked.
ConvShape conv_shape(const Pattern& pattern, nb::handle x, std::int64_t taps, std::int64_t stride, std::int64_t padding, std::int64_t dilation) {
    if (taps < 1 || stride < 1 || padding < 0 || dilation < 1) throw std::invalid_argument("taps, stride and dilation are positive, padding is not negative");
    if (pattern.columns() % taps) throw std::invalid_argument("the pattern's columns are channels times taps");
    const ConvShape shape{length_of(x, "x", 3, 0), pattern.columns() / taps, length_of(x, "x", 3, 2), taps, stride, padding, dilation};
    if (shape.batch > 0 && conv_packed_size<double>(shape) > std::numeric_limits<std::int32_t>::max())
        throw std::invalid_argument("the input is too long: cut the batch into smaller ones");
    return shape;
}

template <class T>
void conv_forward_of(const Pattern& pattern, const ConvShape& shape, Number number, nb::handle values, nb::handle bias, nb::handle x, nb::handle y,
                     nb::handle packed, bool relu, int threads) {
    ConvForward<T> layer{};
    layer.pattern = &pattern;
    layer.shape = shape;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.bias = static_cast<const T*>(memory_or_null(bias, "bias", number, {pattern.rows()}));
    layer.x = static_cast<const T*>(memory_of(x, "x", number, {shape.batch, shape.channels, shape.length}));
    layer.y = static_cast<T*>(memory_of(y, "y", number, {shape.batch, pattern.rows(), shape.positions()}));
    layer.packed = static_cast<T*>(memory_or_null(packed, "packed", number, {packed.is_none() ? 0 : conv_packed_size<T>(shape)}));
    layer.relu = relu;
    layer.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    conv_forward(layer);
}

template <class T>
void conv_backward_of(const Pattern& pattern, const ConvShape& shape, Number number, nb::handle values, nb::handle packed, nb::handle dy, nb::handle y,
                      nb::handle dx, nb::handle dvalues, nb::handle dbias, int threads) {
    ConvBackward<T> layer{};
    layer.pattern = &pattern;
    layer.shape = shape;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.dy = static_cast<const T*>(memory_of(dy, "dy", number, {shape.batch, pattern.rows(), shape.positions()}));
    layer.y = static_cast<const T*>(memory_or_null(y, "y", number, {shape.batch, pattern.rows(), shape.positions()}));
    layer.dx = static_cast<T*>(memory_or_null(dx, "dx", number, {shape.batch, shape.channels, shape.length}));
    layer.dvalues = static_cast<T*>(memory_or_null(dvalues, "dvalues", number, {pattern.survivors()}));
    layer.dbias = static_cast<T*>(memory_or_null(dbias, "dbias", number, {pattern.rows()}));
    if (layer.dvalues) layer.packed = static_cast<const T*>(memory_of(packed, "packed", number, {conv_packed_size<T>(shape)}));
    layer.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    conv_backward(layer);
}

// The shape of a convolution over the words `x`, checked.
WordsShape words_shape(const Pattern& pattern, nb::handle x, std::int64_t taps) {
    const WordsShape shape{length_of(x, "x", 3, 0), length_of(x, "x", 3, 1), length_of(x, "x", 3, 2), taps};
    if (taps < 1 || taps > shape.length) throw std::invalid_argument("a window has at least one word and lies in its text");
    if (pattern.columns() != shape.channels * taps) throw std::invalid_argument("the pattern's columns are channels times taps");
    constexpr std::int64_t limit = std::numeric_limits<std::int32_t>::max();
    if (shape.channels > 0 && shape.ld() + taps + 32 > limit / shape.channels)
        throw std::invalid_argument("the input is too long: cut the batch into smaller ones");
    return shape;
}

template <class T>
void words_forward_of(const Pattern& pattern, const WordsShape& shape, Number number, nb::handle values, nb::handle bias, nb::handle x, nb::handle y,
                      nb::handle maximum, nb::handle place, int threads) {
    WordsForward<T> layer{};
    layer.pattern = &pattern;
    layer.shape = shape;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.bias = static_cast<const T*>(memory_or_null(bias, "bias", number, {pattern.rows()}));
    layer.x = static_cast<const T*>(memory_of(x, "x", number, {shape.batch, shape.length, shape.channels}));
    layer.y = static_cast<T*>(memory_or_null(y, "y", number, {pattern.rows(), shape.ld()}));
    layer.maximum = static_cast<T*>(memory_or_null(maximum, "maximum", number, {shape.batch, pattern.rows()}));
    if (layer.maximum) layer.place = places_of(place, "place", {shape.batch, pattern.rows()});
    layer.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    words_forward(layer);
}

template <class T>
bool words_backward_of(const Pattern& pattern, const WordsShape& shape, Number number, nb::handle values, nb::handle x, nb::handle dy, nb::handle place,
                       nb::handle dx, nb::handle dvalues, nb::handle dbias, std::int64_t most, int threads) {
    WordsBackward<T> layer{};
    layer.pattern = &pattern;
    layer.shape = shape;
    layer.values = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    layer.x = static_cast<const T*>(memory_of(x, "x", number, {shape.batch, shape.length, shape.channels}));
    if (place.is_none()) {
        layer.dy = static_cast<const T*>(memory_of(dy, "dy", number, {shape.batch, pattern.rows(), shape.positions()}));
    } else {
        layer.dy = static_cast<const T*>(memory_of(dy, "dy", number, {shape.batch, pattern.rows()}));
        const std::int32_t* places = places_of(place, "place", {shape.batch, pattern.rows()});
        for (std::int64_t i = 0; i < shape.batch * pattern.rows(); ++i)
            if (places[i] < 0 || places[i] >= shape.positions()) throw nb::index_error("place must lie within the positions");
        layer.place = places;
    }
    layer.dx = static_cast<T*>(memory_or_null(dx, "dx", number, {shape.batch, shape.length, shape.channels}));
    layer.dvalues = static_cast<T*>(memory_or_null(dvalues, "dvalues", number, {pattern.survivors()}));
    layer.dbias = static_cast<T*>(memory_or_null(dbias, "dbias", number, {pattern.rows()}));
    layer.most = most;
    layer.threads = checked_threads(threads);
    const nb::gil_scoped_release released;
    return words_backward(layer);
}

template <class T>
void embedding_forward_of(const Pattern& pattern, Number number, nb::handle values, nb::handle ids, nb::handle y, int threads) {
    std::int64_t count = 0;
    const std::int64_t* rows = ids_of(ids, "ids", pattern.rows(), &count);
    const auto* from = static_cast<const T*>(memory_of(values, "values", number, {pattern.survivors()}));
    auto* to = static_cast<T*>(memory_of(y, "y", number, {count, pattern.columns()}));
    checked_threads(threads);
    const nb::gil_scoped_release released;
    embedding_forward(pattern, from, rows, count, to, threads);
}

template <class T>
void embedding_backward_of(const Pattern& pattern, Number number, nb::handle ids, nb::handle dy, nb::handle dvalues, int threads) {
    std::int64_t count = 0;
    const std::int64_t* rows = ids_of(ids, "ids", pattern.rows(), &count);
    const auto* from = static_cast<const T*>(memory_of(dy, "dy", number, {count, pattern.columns()}));
    auto* to = static_cast<T*>(memory_of(dvalues, "dvalues", number, {pattern.survivors()}));
    checked_threads(threads);
    const nb::gil_scoped_release released;
    embedding_backward(pattern, rows, count, from, to, threads);
}

}  // namespace

void bind_recurrent(nb::module_& module);  // recurrent_module.cpp
void bind_bytes(nb::module_& module);      // bytes_module.cpp
void bind_optimizer(nb::module_& module);  // optimizer_module.cpp
void bind_scoring(nb::module_& module);    // scoring_module.cpp
void bind_popup(nb::module_& module);      // popup_module.cpp
void bind_selection(nb::module_& module);  // selection_module.cpp

}  // namespace secateur

NB_MODULE(_kernels, module) {
    using namespace secateur;
    nb::set_leak_warnings(false);  // caches of torch and of Python outlive the module at exit
    module.doc() = "Sparse kernels of Secateur. Tensors are checked here: a wrong shape, dtype, device or stride raises.";
    nb::class_<Pattern>(module, "Pattern", "Which weights of a (rows, columns) matrix survive; immutable, safe to share between threads.")
        .def(nb::new_(&make_pattern), "rows"_a, "columns"_a, "row_starts"_a, "column_of"_a)
        .def_prop_ro("rows", &Pattern::rows)
        .def_prop_ro("columns", &Pattern::columns)
        .def_prop_ro("survivors", &Pattern::survivors)
        .def_prop_ro("nbytes", &Pattern::bytes)
        .def("linear_forward",
             [](const Pattern& pattern, nb::handle values, nb::handle bias, nb::handle x, bool feature_major, bool relu, int threads) {
                 const Number number = number_of(values, "values");
                 return (number == Number::single ? forward_of<float> : forward_of<double>)(pattern, number, values, bias, x, feature_major, relu, threads);
             },
             "values"_a, "bias"_a.none(), "x"_a, "feature_major"_a, "relu"_a, "threads"_a)
        .def("linear_backward",
             [](const Pattern& pattern, nb::handle values, nb::handle x, nb::handle dy, nb::handle y, bool needs_x, bool needs_values,
                bool needs_bias, bool feature_major, int threads) {
                 const Number number = number_of(values, "values");
                 return (number == Number::single ? backward_of<float> : backward_of<double>)(pattern, number, values, x, dy, y, needs_x, needs_values,
                                                                                             needs_bias, feature_major, threads);
             },
             "values"_a, "x"_a.none(), "dy"_a, "y"_a.none(), "needs_x"_a, "needs_values"_a, "needs_bias"_a, "feature_major"_a, "threads"_a)
        .def("conv_packed_size",
             [](const Pattern& pattern, nb::handle x, std::int64_t taps, std::int64_t stride, std::int64_t padding, std::int64_t dilation) {
                 const ConvShape shape = conv_shape(pattern, x, taps, stride, padding, dilation);
                 return number_of(x, "x") == Number::single ? conv_packed_size<float>(shape) : conv_packed_size<double>(shape);
             },
             "x"_a, "taps"_a, "stride"_a, "padding"_a, "dilation"_a)
        .def("conv_forward",
             [](const Pattern& pattern, nb::handle values, nb::handle bias, nb::handle x, nb::handle y, nb::handle packed, std::int64_t taps,
                std::int64_t stride, std::int64_t padding, std::int64_t dilation, bool relu, int threads) {
                 const Number number = number_of(values, "values");
                 const ConvShape shape = conv_shape(pattern, x, taps, stride, padding, dilation);
                 (number == Number::single ? conv_forward_of<float> : conv_forward_of<double>)(pattern, shape, number, values, bias, x, y, packed, relu,
                                                                                              threads);
             },
             "values"_a, "bias"_a.none(), "x"_a, "y"_a, "packed"_a.none(), "taps"_a, "stride"_a, "padding"_a, "dilation"_a, "relu"_a, "threads"_a)
        .def("conv_backward",
             [](const Pattern& pattern, nb::handle values, nb::handle packed, std::int64_t length, nb::handle dy, nb::handle y, nb::handle dx,
                nb::handle dvalues, nb::handle dbias, std::int64_t taps, std::int64_t stride, std::int64_t padding, std::int64_t dilation, int threads) {
                 const Number number = number_of(values, "values");
                 ConvShape shape = conv_shape(pattern, dy, taps, stride, padding, dilation);
                 if (length < 0 || length > std::numeric_limits<std::int32_t>::max()) throw std::invalid_argument("length is out of range");
                 shape.length = length;
                 (number == Number::single ? conv_backward_of<float> : conv_backward_of<double>)(pattern, shape, number, values, packed, dy, y, dx,
                                                                                                dvalues, dbias, threads);
             },
             "values"_a, "packed"_a.none(), "length"_a, "dy"_a, "y"_a.none(), "dx"_a.none(), "dvalues"_a.none(), "dbias"_a.none(), "taps"_a,
             "stride"_a, "padding"_a, "dilation"_a, "threads"_a)
        .def("words_forward",
             [](const Pattern& pattern, nb::handle values, nb::handle bias, nb::handle x, nb::handle y, nb::handle maximum, nb::handle place,
                std::int64_t taps, int threads) {
                 const Number number = number_of(values, "values");
                 const WordsShape shape = words_shape(pattern, x, taps);
                 (number == Number::single ? words_forward_of<float> : words_forward_of<double>)(pattern, shape, number, values, bias, x, y, maximum,
                                                                                                place, threads);
             },
             "values"_a, "bias"_a.none(), "x"_a, "y"_a.none(), "maximum"_a.none(), "place"_a.none(), "taps"_a, "threads"_a)
        .def("words_backward",
             [](const Pattern& pattern, nb::handle values, nb::handle x, nb::handle dy, nb::handle place, nb::handle dx, nb::handle dvalues,
                nb::handle dbias, std::int64_t taps, std::int64_t most, int threads) {
                 const Number number = number_of(values, "values");
                 const WordsShape shape = words_shape(pattern, x, taps);
                 return (number == Number::single ? words_backward_of<float> : words_backward_of<double>)(pattern, shape, number, values, x, dy, place,
                                                                                                         dx, dvalues, dbias, most, threads);
             },
             "values"_a, "x"_a, "dy"_a, "place"_a.none(), "dx"_a.none(), "dvalues"_a.none(), "dbias"_a.none(), "taps"_a, "most"_a, "threads"_a)
        .def("embedding_forward",
             [](const Pattern& pattern, nb::handle values, nb::handle ids, nb::handle y, int threads) {
                 const Number number = number_of(values, "values");
                 (number == Number::single ? embedding_forward_of<float> : embedding_forward_of<double>)(pattern, number, values, ids, y, threads);
             },
             "values"_a, "ids"_a, "y"_a, "threads"_a)
        .def("embedding_backward",
             [](const Pattern& pattern, nb::handle ids, nb::handle dy, nb::handle dvalues, int threads) {
                 const Number number = number_of(dy, "dy");
                 (number == Number::single ? embedding_backward_of<float> : embedding_backward_of<double>)(pattern, number, ids, dy, dvalues, threads);
             },
             "ids"_a, "dy"_a, "dvalues"_a, "threads"_a);
    module.def("chain_forward",
               [](const std::vector<Link>& links, nb::handle x, int threads) {
                   if (links.empty()) throw std::invalid_argument("a chain has at least one layer");
                   const Number number = number_of(x, "x");
                   return (number == Number::single ? chain_of<float> : chain_of<double>)(links, number, x, threads);
               },
               "links"_a, "x"_a, "threads"_a,
               "y (batch, outputs) of x (batch, inputs) through sparse linear layers, each (pattern, values, bias or None, relu).");
    bind_bytes(module);
    bind_recurrent(module);
    bind_optimizer(module);
    bind_scoring(module);
    bind_popup(module);
    bind_selection(module);
    module.def("new_tensor", [](nb::handle like, nb::handle shape) { return new_tensor(like, shape); }, "like"_a, "shape"_a,
               "A tensor of `like`'s dtype and of this shape, its numbers not set.");
    module.def("instruction_set", &instruction_set, "The instruction set in use: avx512, avx2 or baseline (SECATEUR_ISA forces one).");
    module.def("instruction_sets", [] {
        int count = 0;
        const char* const* names = instruction_sets(&count);
        return std::vector<std::string>(names, names + count);
    }, "The instruction sets that this processor can run, best first.");
    module.def("round_trip", &round_trip, nb::call_guard<nb::gil_scoped_release>(),
               "Nanoseconds in which a cache line goes from one thread's core to another's and back: results of two threads depend on it. 0 where there is one.");
    module.def("thread_source", &thread_source, "Where the kernels' threads come from: 'openmp' (the process's own runtime) or 'pool'.");
}
