// The kernels for AVX-512 (F, BW, DQ, VL: every server core since Skylake-SP and Zen 4).
#if defined(__x86_64__)
#include <math.h>
#include <string.h>
#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2"))), \
                             apply_to = function)
#define CK_VARIANT(name) ck_avx512_##name
#define CK_NAME "avx512"
#define CK_LANES 16
#include "bodies/kernels.inc"
#pragma clang attribute pop
#endif
