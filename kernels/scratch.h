// Memory that a thread keeps from call to call.
#pragma once

#include <cstddef>

namespace secateur {

enum class Slot { packed_dy, packed_x, output, dvalues, ordered, dbias, recurrent, count };

// At least `bytes` bytes, 64-byte aligned, of this thread's own; what an earlier call in the same slot gave is void.
void* scratch(Slot slot, std::size_t bytes);

template <class T>
T* scratch_of(Slot slot, std::size_t numbers) {
    return static_cast<T*>(scratch(slot, numbers * sizeof(T)));
}

}  // namespace secateur
