// torch tensors at the boundary: checked, then taken as plain memory. No part of torch is linked; a tensor is asked for its
// properties through Python, which costs less than a DLPack capsule.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <initializer_list>
#include <string>

namespace secateur {

namespace nb = nanobind;

enum class Number { single, twofold };

// The dtype of a float tensor; TypeError where it is neither float32 nor float64.
Number number_of(nb::handle tensor, const char* name);

// The memory of a contiguous CPU tensor of `number` whose shape is `shape`; TypeError or ValueError where it is none.
void* memory_of(nb::handle tensor, const char* name, Number number, std::initializer_list<std::int64_t> shape);

// The memory of a contiguous CPU tensor of `number` with any shape, and how many numbers it holds.
void* memory_of(nb::handle tensor, const char* name, Number number, std::int64_t* count);

// As `memory_of` with a shape, for an argument that may be None: then null.
inline void* memory_or_null(nb::handle tensor, const char* name, Number number, std::initializer_list<std::int64_t> shape) {
    return tensor.is_none() ? nullptr : memory_of(tensor, name, number, shape);
}

// The memory of a contiguous int32 CPU tensor of this shape; TypeError or ValueError where it is none.
std::int32_t* places_of(nb::handle tensor, const char* name, std::initializer_list<std::int64_t> shape);

// The memory and length of a contiguous one-axis int64 CPU tensor whose numbers lie in [0, limit); ValueError where it is none.
const std::int64_t* ids_of(nb::handle tensor, const char* name, std::int64_t limit, std::int64_t* count);

// The length of a tensor along one axis; ValueError unless it has `axes` axes.
std::int64_t length_of(nb::handle tensor, const char* name, int axes, int axis);

}  // namespace secateur
