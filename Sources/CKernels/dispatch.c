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

const ck_table *ck_kernels_named(const char *name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &ck_avx512_table;
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &ck_avx2_table;
#endif
    return strcmp(name, "plain") == 0 ? &ck_plain_table : NULL;
}

static const ck_table *choose(void) {
    static const char *const best_first[] = {"avx512", "avx2", "plain"};
    const char *wish = getenv("LORAJOBS_CPU");
    int i = 0;
    for (int wished = 1; wished < 3; wished++)
        if (wish && strcmp(wish, best_first[wished]) == 0) i = wished;
    const ck_table *table;
    while (!(table = ck_kernels_named(best_first[i]))) i++;  // plain is everywhere
    return table;
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

#if defined(__x86_64__)
void ck_bf16_product_native(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, int x_transposed,
                            const uint16_t *w, size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                            void *scratch);
#endif

#if defined(__x86_64__)
void ck_widened_product_native(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, const uint16_t *w,
                               size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                               void *scratch);
#endif

int ck_multiplies_widened(void) {
#if defined(__x86_64__)
    return ck_kernels() == &ck_avx512_table;
#else
    return 0;
#endif
}

void ck_widened_product(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, const uint16_t *w,
                        size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                        void *scratch) {
#if defined(__x86_64__)
    ck_widened_product_native(m, n, k, alpha, x, ldx, w, ldw, transposed, adds, c, ldc, addend, scratch);
#endif
}

int ck_multiplies_bf16(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return ck_kernels() == &ck_avx512_table && __builtin_cpu_supports("avx512bf16");
#else
    return 0;
#endif
}

void ck_bf16_product(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, int x_transposed,
                     const uint16_t *w, size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                            void *scratch) {
#if defined(__x86_64__)
    if (ck_multiplies_bf16()) {
        ck_bf16_product_native(m, n, k, alpha, x, ldx, x_transposed, w, ldw, transposed, adds, c, ldc, addend, scratch);
        return;
    }
#endif
    ck_kernels()->bf16_product(m, n, k, alpha, x, ldx, x_transposed, w, ldw, transposed, adds, c, ldc, addend, scratch);
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
