// The kernels for AVX2 with FMA.
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#define CK_VARIANT(name) ck_avx2_##name
#define CK_NAME "avx2"
#define CK_LANES 8
#include "bodies/kernels.inc"
#pragma clang attribute pop
#endif
