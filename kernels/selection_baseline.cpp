#define SECATEUR_ISA baseline
#define SECATEUR_VECTOR_BYTES 16
#include "selection_loops.h"
