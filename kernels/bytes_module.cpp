// Python's face of the gathering of bytes. Arrays are numpy's.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>

#include "bytes.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

template <class T, int Axes>
using Array = nb::ndarray<T, nb::numpy, nb::ndim<Axes>, nb::c_contig, nb::device::cpu>;

void scaled_rows(const Array<const std::uint8_t, 3>& table, const Array<const std::int64_t, 1>& rows, const Array<const float, 1>& factor,
                 const Array<const float, 1>& shift, const Array<float, 3>& out, int threads) {
    const std::size_t channels = table.shape(1), run = table.shape(2), count = rows.shape(0);
    if (factor.shape(0) != channels || shift.shape(0) != channels) throw std::invalid_argument("factor and shift must have a number for each channel");
    if (out.shape(0) != count || out.shape(1) != channels || out.shape(2) != run) throw std::invalid_argument("out must be (rows, channels, run)");
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
    for (std::size_t i = 0; i < count; ++i)
        if (rows.data()[i] < 0 || rows.data()[i] >= std::int64_t(table.shape(0))) throw std::out_of_range("rows must lie in the table");
    const nb::gil_scoped_release released;
    gather_scaled({table.data(), rows.data(), std::int64_t(count), std::int64_t(channels), std::int64_t(run), factor.data(), shift.data(), out.data(), threads});
}

}  // namespace

void bind_bytes(nb::module_& module) {
    module.def("scaled_rows", &scaled_rows, "table"_a.noconvert(), "rows"_a.noconvert(), "factor"_a.noconvert(), "shift"_a.noconvert(),
               "out"_a.noconvert(), "threads"_a);
}

}  // namespace secateur
