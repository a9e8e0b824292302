// Rows of a sparse table, looked up by id and written out dense; and the gradient of its survivors.
#pragma once

#include <cstdint>

#include "pattern.h"

namespace secateur {

// y (count, columns): row ids[i] of the table. Ids lie in [0, rows); the caller has checked that.
template <class T>
void embedding_forward(const Pattern& pattern, const T* values, const std::int64_t* ids, std::int64_t count, T* y, int threads);

// dvalues (survivors): the sums of dy over the places where each row was looked up, in order of `ids`.
template <class T>
void embedding_backward(const Pattern& pattern, const std::int64_t* ids, std::int64_t count, const T* dy, T* dvalues, int threads);

}  // namespace secateur
