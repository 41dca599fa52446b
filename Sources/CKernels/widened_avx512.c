// Products in single precision with a matrix that is stored as bf16, for AVX-512.
//
// A column of a panel is widened, which is exact, when it is arranged; otherwise as in bf16_avx512.c, whose comments say
// why. The panel is twice as large here and lies in the second cache, from where 128 bytes every 14 cycles are few.
#if defined(__x86_64__)
#include <immintrin.h>
#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2"))), \
                             apply_to = function)

enum {
    DEPTH = CK_WIDENED_DEPTH,
    ROWS = CK_WIDENED_ROWS,  // a multiple of TILE
    STRIDE = DEPTH + 16,     // not a power of two, so that a tile's rows do not share cache sets
};

#include "bodies/panels.inc"

// Sixteen elements of bf16 as floats, zeros where the mask is.
static inline __m512i widened(__mmask16 mask, const uint16_t *w) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, w)), 16);
}

// A panel of n columns of a matrix that lies [column][k]: row p of column c at panel[32 p + c], zeros beyond.
static void pack_transposed(size_t n, size_t k, const uint16_t *w, size_t ldw, float *panel) {
    for (size_t p = 0; p < k; p += 16)
        for (size_t half = 0; half < 32; half += 16) {
            __m512i rows[16];
            for (size_t c = 0; c < 16; c++)
                rows[c] = half + c < n ? widened(first16(k - p), w + (half + c) * ldw + p) : _mm512_setzero_si512();
            transpose(rows, (uint32_t *)panel + 32 * p + half);
        }
}

// The same of a matrix that lies [k][column].
static void pack_plain(size_t n, size_t k, const uint16_t *w, size_t ldw, float *panel) {
    __mmask16 m0 = first16(n), m1 = n > 16 ? first16(n - 16) : 0;
    for (size_t p = 0; p < k; p++) {
        _mm512_store_si512(panel + 32 * p, widened(m0, w + p * ldw));
        _mm512_store_si512(panel + 32 * p + 16, widened(m1, w + p * ldw + 16));
    }
}

// A tile of `rows` by 32: c = (c +) alpha · a · panel over k, + h · b where there is a rank.
static inline __attribute__((always_inline)) void tile(const int rows, size_t k, const float *a, const float *panel,
                                                       float alpha, int adds, size_t n, float *c, size_t ldc, size_t rank,
                                                       const float *h, const float *b, size_t ldb) {
    fetch_result(rows, c, ldc);
    __m512 sums[TILE][2];
    _Pragma("unroll") for (int r = 0; r < rows; r++) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < k; p++) {
        __m512 b0 = _mm512_load_ps(panel + 32 * p), b1 = _mm512_load_ps(panel + 32 * p + 16);
        _Pragma("unroll") for (int r = 0; r < rows; r++) {
            __m512 x = _mm512_set1_ps(a[(size_t)r * STRIDE + p]);
            sums[r][0] = _mm512_fmadd_ps(x, b0, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(x, b1, sums[r][1]);
        }
    }
    store(rows, sums, alpha, adds, n, c, ldc, rank, h, b, ldb);
}

static void any_tile(size_t rows, size_t k, const float *a, const float *panel, float alpha, int adds, size_t n, float *c,
                     size_t ldc, size_t rank, const float *h, const float *b, size_t ldb) {
#define CASE(R) case R: tile(R, k, a, panel, alpha, adds, n, c, ldc, rank, h, b, ldb); break;
    switch (rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
        CASE(14)
    }
#undef CASE
}

void ck_widened_product_native(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, const uint16_t *w,
                               size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                               void *scratch) {
    if (!m || !n || !k) return;
    float *panel = scratch, *block = panel + COLUMNS * DEPTH;
    size_t depth = part(k, DEPTH, 32), height = part(m, ROWS, TILE);
    for (size_t p = 0; p < k; p += depth) {
        size_t kc = k - p < depth ? k - p : depth;
        size_t rank = addend && p + kc == k ? addend->rank : 0;
        const float *h = rank ? addend->h : NULL, *b = rank ? addend->b : NULL;
        for (size_t i = 0; i < m; i += height) {
            size_t rows = m - i < height ? m - i : height;
            for (size_t r = 0; r < rows; r++) __builtin_memcpy(block + r * STRIDE, x + (i + r) * ldx + p, 4 * kc);
            for (size_t j = 0; j < n; j += COLUMNS) {
                size_t width = n - j < COLUMNS ? n - j : COLUMNS;
                if (transposed) pack_transposed(width, kc, w + j * ldw + p, ldw, panel);
                else pack_plain(width, kc, w + p * ldw + j, ldw, panel);
                struct next_panel next = after(j + width, n, p, kc, w, ldw, transposed);
                for (size_t r = 0; r < rows; r += TILE) {
                    fetch(&next, r + TILE, rows);
                    any_tile(rows - r < TILE ? rows - r : TILE, kc, block + r * STRIDE, panel, alpha, adds || p, width,
                             c + (i + r) * ldc + j, ldc, rank, rank ? h + (i + r) * rank : h, rank ? b + j : b,
                             rank ? addend->ldb : 0);
                }
            }
        }
    }
}
#pragma clang attribute pop
#endif
