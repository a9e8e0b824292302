// Optimiser steps over several parameters at once, pruned weights held at zero in the same pass.
#pragma once

#include <cstdint>

#include "primitives.h"

namespace secateur {

// One step of `rule` on each of `count` parameters, each cut into one range a thread.
template <class T>
void adam_step(const AdamRule<T>& rule, const Slots<T>* parameters, std::int64_t count, int threads);
template <class T>
void sgd_step(const SgdRule<T>& rule, const Slots<T>* parameters, std::int64_t count, int threads);

}  // namespace secateur
