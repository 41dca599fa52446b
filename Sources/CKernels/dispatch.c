// Chooses the table of kernels once, from the processor and LORAJOBS_CPU.
#include "CKernels.h"
#include <stdatomic.h>
#include <stdlib.h>
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
