// Chooses the table of kernels once, from the processor and LORAJOBS_CPU.
#include "CKernels.h"
#include <stdatomic.h>
#include <stdlib.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <string.h>

extern const ck_table ck_plain_table;
#if defined(__x86_64__)
extern const ck_table ck_avx2_table;
extern const ck_table ck_avx512_table;
#endif

static const ck_table *choose(void) {
#if defined(__x86_64__)
    const char *wish = getenv("LORAJOBS_CPU");
    int limit = 2;
    if (wish && strcmp(wish, "avx2") == 0) limit = 1;
    if (wish && strcmp(wish, "plain") == 0) limit = 0;
    __builtin_cpu_init();
    if (limit >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &ck_avx512_table;
    if (limit >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &ck_avx2_table;
#endif
    return &ck_plain_table;
}

const ck_table *ck_kernels(void) {
    static _Atomic(const ck_table *) chosen;
    const ck_table *table = atomic_load_explicit(&chosen, memory_order_acquire);
    if (!table) {
        table = choose();  // two threads may both choose; they choose alike
        atomic_store_explicit(&chosen, table, memory_order_release);
    }
    return table;
}

const char *ck_openblas_coretype(void) {
#if defined(__x86_64__)
    const char *table = ck_kernels()->name;
    if (strcmp(table, "plain") == 0) return "Nehalem";
    if (strcmp(table, "avx2") == 0) return "Haswell";
    unsigned a, b, c, d;
    if (!__get_cpuid(0, &a, &b, &c, &d)) return NULL;
    int is_amd = b == signature_AMD_ebx && c == signature_AMD_ecx && d == signature_AMD_edx;
    if (!is_amd || !__get_cpuid(1, &a, &b, &c, &d)) return NULL;
    unsigned family = ((a >> 8) & 0xf) + ((a >> 20) & 0xff);
    // Zen 4 (family 25) splits 512-bit operations and is fastest with the AVX2 kernels; Zen 5 and later do not, and an
    // OpenBLAS that does not know them falls back to AVX2 at half their speed.
    return family >= 26 ? "SkylakeX" : "Haswell";
#else
    return NULL;
#endif
}
