#define SECATEUR_ISA avx2
#define SECATEUR_VECTOR_BYTES 32
#include "selection_loops.h"
