#define SECATEUR_ISA baseline
#define SECATEUR_NAME "baseline"
#define SECATEUR_VECTOR_BYTES 16
#include "isa.inc"
