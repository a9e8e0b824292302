// Python's face of the optimiser steps.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <vector>

#include "optimizer.h"
#include "tensor_view.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace secateur {
namespace {

std::size_t same_length(nb::list first, std::initializer_list<nb::list> others) {
    for (const nb::list& other : others)
        if (other.size() != first.size()) throw std::invalid_argument("the lists must have one entry for each parameter");
    return first.size();
}

// Which weights live, as packed bits; null for None.
const std::uint8_t* bits_or_null(nb::handle kept, std::int64_t count) {
    using Bits = nb::ndarray<const std::uint8_t, nb::numpy, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
    if (kept.is_none()) return nullptr;
    Bits bits;
    if (!nb::try_cast(kept, bits, false)) throw nb::type_error("kept must hold packed bits: numpy arrays of uint8");
    if (std::int64_t(bits.shape(0)) != (count + 7) / 8) throw std::invalid_argument("kept must hold a bit for each weight");
    return bits.data();
}

template <class T>
std::vector<Slots<T>> slots_of(Number number, nb::list parameters, nb::list gradients, nb::list first, nb::list second, nb::list kept) {
    std::vector<Slots<T>> slots(parameters.size());
    for (std::size_t i = 0; i < slots.size(); ++i) {
        Slots<T>& at = slots[i];
        at.weights = static_cast<T*>(memory_of(parameters[i], "a parameter", number, &at.count));
        const auto of_parameter = [&](nb::handle tensor, const char* name) -> void* {
            if (tensor.is_none()) return nullptr;
            std::int64_t count = 0;
            void* memory = memory_of(tensor, name, number, &count);
            if (count != at.count) throw std::invalid_argument(std::string(name) + " must have as many numbers as its parameter");
            return memory;
        };
        if (gradients[i].is_none()) throw std::invalid_argument("a parameter without a gradient takes no step");
        at.gradients = static_cast<const T*>(of_parameter(gradients[i], "a gradient"));
        at.first = static_cast<T*>(of_parameter(first[i], "a first moment"));
        at.second = static_cast<T*>(of_parameter(second[i], "a second moment"));
        at.kept = bits_or_null(kept[i], at.count);
    }
    return slots;
}

template <class T>
void adam_of(Number number, nb::list parameters, nb::list gradients, nb::list first, nb::list second, nb::list kept, const AdamRule<double>& r,
             int threads) {
    const auto slots = slots_of<T>(number, parameters, gradients, first, second, kept);
    for (const Slots<T>& at : slots)
        if (at.count && (!at.first || !at.second)) throw std::invalid_argument("Adam needs both moments");
    const AdamRule<T> rule{T(r.rate), T(r.mean_step), T(r.square_keep), T(r.square_step), T(r.root_scale), T(r.eps), T(r.decay), T(r.shrink)};
    const nb::gil_scoped_release released;
    adam_step(rule, slots.data(), std::int64_t(slots.size()), threads);
}

template <class T>
void sgd_of(Number number, nb::list parameters, nb::list gradients, nb::list buffers, nb::list kept, const SgdRule<double>& r, int threads) {
    const auto slots = slots_of<T>(number, parameters, gradients, buffers, buffers, kept);
    const SgdRule<T> rule{T(r.rate), T(r.momentum), T(r.nesterov), T(r.heavy), T(r.decay)};
    const nb::gil_scoped_release released;
    sgd_step(rule, slots.data(), std::int64_t(slots.size()), threads);
}

void check_threads(int threads) {
    if (threads < 1 || threads > 1024) throw std::invalid_argument("threads must lie between 1 and 1024");
}

}  // namespace

void bind_optimizer(nb::module_& module) {
    module.def(
        "adam_step",
        [](nb::list parameters, nb::list gradients, nb::list first, nb::list second, nb::list kept, double rate, double mean_step, double square_keep,
           double root_scale, double eps, double decay, double shrink, int threads) {
            check_threads(threads);
            if (same_length(parameters, {gradients, first, second, kept}) == 0) return;
            const Number number = number_of(parameters[0], "a parameter");
            const AdamRule<double> rule{rate, mean_step, square_keep, 1 - square_keep, root_scale, eps, decay, shrink};
            (number == Number::single ? adam_of<float> : adam_of<double>)(number, parameters, gradients, first, second, kept, rule, threads);
        },
        "parameters"_a, "gradients"_a, "first"_a, "second"_a, "kept"_a, "rate"_a, "mean_step"_a, "square_keep"_a, "root_scale"_a, "eps"_a, "decay"_a,
        "shrink"_a, "threads"_a);
    module.def(
        "sgd_step",
        [](nb::list parameters, nb::list gradients, nb::list buffers, nb::list kept, double rate, double momentum, bool nesterov, double decay,
           int threads) {
            check_threads(threads);
            if (same_length(parameters, {gradients, buffers, kept}) == 0) return;
            const Number number = number_of(parameters[0], "a parameter");
            const SgdRule<double> rule{rate, momentum, nesterov ? 1.0 : 0.0, nesterov ? momentum : 1.0, decay};
            (number == Number::single ? sgd_of<float> : sgd_of<double>)(number, parameters, gradients, buffers, kept, rule, threads);
        },
        "parameters"_a, "gradients"_a, "buffers"_a, "kept"_a, "rate"_a, "momentum"_a, "nesterov"_a, "decay"_a, "threads"_a);
}

}  // namespace secateur
