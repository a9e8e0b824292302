// Python's face of the sparse kernels.
#include <nanobind/nanobind.h>

namespace nb = nanobind;

NB_MODULE(_kernels, module) {
    module.doc() = "Sparse kernels of Secateur.";
}
