// torch tensors at the boundary: checked, then taken as plain memory. No part of torch is linked: a tensor is looked at through DLPack's
// exchange functions, or asked for its properties through Python where torch is older than these, or where they find something amiss.
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

// A new tensor of `like`'s dtype and of this shape (a tuple), its numbers not set. Its memory is taken from `malloc`: freed tensors of as
// many bytes are found again there, warm, where torch's `posix_memalign` may look for room elsewhere.
nb::object new_tensor(nb::handle like, nb::handle shape);

// The same where `like` is of `number`, and its memory.
nb::object new_tensor(nb::handle like, Number number, std::initializer_list<std::int64_t> shape, void** memory);
template <class T>
nb::object new_tensor(nb::handle like, Number number, std::initializer_list<std::int64_t> shape, T** memory) {
    void* untyped;
    nb::object made = new_tensor(like, number, shape, &untyped);
    *memory = static_cast<T*>(untyped);
    return made;
}

}  // namespace secateur
