#define SECATEUR_ISA avx512
#define SECATEUR_VECTOR_BYTES 64
#include "selection_loops.h"
