// Which instruction set runs: the best this processor has, or the one that the environment variable SECATEUR_ISA names.
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "primitives.h"

namespace secateur {

#if defined(__x86_64__)
namespace avx512 {
extern const InstructionSet instructions;
}
namespace avx2 {
extern const InstructionSet instructions;
}
#endif
namespace baseline {
extern const InstructionSet instructions;
}

namespace {

std::vector<const InstructionSet*> runnable() {
    std::vector<const InstructionSet*> sets;
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq");
    if (has_avx2 && has_avx512) sets.push_back(&avx512::instructions);
    if (has_avx2) sets.push_back(&avx2::instructions);
#endif
    sets.push_back(&baseline::instructions);
    return sets;
}

const InstructionSet& choose() {
    const auto sets = runnable();
    const char* wanted = std::getenv("SECATEUR_ISA");
    if (!wanted || !*wanted) return *sets.front();
    std::string known;
    for (const InstructionSet* set : sets) {
        if (!std::strcmp(set->name, wanted)) return *set;
        known += (known.empty() ? "" : ", ") + std::string(set->name);
    }
    throw std::invalid_argument("SECATEUR_ISA=" + std::string(wanted) + ": this processor runs " + known);
}

const InstructionSet& chosen() {
    static const InstructionSet& set = choose();
    return set;
}

}  // namespace

template <>
const Primitives<float>& primitives<float>() {
    return chosen().single;
}
template <>
const Primitives<double>& primitives<double>() {
    return chosen().twofold;
}
template <>
const RecurrentPrimitives<float>& recurrent_primitives<float>() {
    return chosen().recurrent->single;
}
template <>
const RecurrentPrimitives<double>& recurrent_primitives<double>() {
    return chosen().recurrent->twofold;
}
const char* instruction_set() { return chosen().name; }

bool gathers_are_slow() {
    static const bool slow = [] {
        if (const char* wanted = std::getenv("SECATEUR_GATHERS"); wanted && *wanted) return std::strcmp(wanted, "slow") == 0;
#if defined(__x86_64__)
        __builtin_cpu_init();
        return __builtin_cpu_is("amd") != 0;
#else
        return false;
#endif
    }();
    return slow;
}

const char* const* instruction_sets(int* count) {
    static const std::vector<const char*> names = [] {
        std::vector<const char*> found;
        for (const InstructionSet* set : runnable()) found.push_back(set->name);
        return found;
    }();
    *count = int(names.size());
    return names.data();
}

}  // namespace secateur
