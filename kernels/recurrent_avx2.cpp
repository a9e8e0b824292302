#define SECATEUR_ISA avx2
#define SECATEUR_VECTOR_BYTES 32
#include "recurrent_isa.inc"
