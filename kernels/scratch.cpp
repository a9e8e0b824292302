#include "scratch.h"

#include <cstdlib>
#include <new>

namespace secateur {
namespace {

struct Buffers {
    void* memory[int(Slot::count)] = {};
    std::size_t bytes[int(Slot::count)] = {};
    ~Buffers() {
        for (void* each : memory) std::free(each);
    }
};

thread_local Buffers buffers;

}  // namespace

void* scratch(Slot slot, std::size_t bytes) {
    const int i = int(slot);
    if (buffers.bytes[i] < bytes) {
        std::free(buffers.memory[i]);
        buffers.bytes[i] = 0;
        const std::size_t rounded = (bytes + 4095) / 4096 * 4096;
        buffers.memory[i] = std::aligned_alloc(4096, rounded);
        if (!buffers.memory[i]) throw std::bad_alloc();
        buffers.bytes[i] = rounded;
    }
    return buffers.memory[i];
}

}  // namespace secateur
