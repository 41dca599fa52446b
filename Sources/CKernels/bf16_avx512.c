// Products with a bf16 matrix on processors that multiply bf16 (AVX512_BF16: Cooper Lake, Zen 4 and later).
//
// Blocks as in Goto and van de Geijn 2008 (doi 10.1145/1356052.1356053): ROWS rows of the left side, rounded to bf16, stay
// in the second cache for one stretch of DEPTH of the inner size; a panel of COLUMNS of the matrix, rearranged as
// vdpbf16ps wants it, stays in the first or near it; the accumulators of a tile of TILE by COLUMNS stay in registers. Nothing is
// rearranged beforehand: for several hundred rows doing so each time costs about two percent, and the matrix stays as it
// lies in its file. What comes next, of the matrix and of the result, is fetched while the processor multiplies: both lie
// in strips that no prefetcher of its own foresees, and waiting for them took 7 percent of the time on a Zen 5.
#if defined(__x86_64__)
#include <immintrin.h>
#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2"))), \
                             apply_to = function)

enum {
    DEPTH = CK_BF16_DEPTH,
    ROWS = CK_BF16_ROWS,  // a multiple of TILE
    STRIDE = DEPTH + 32,  // of the rounded rows; not a power of two, so that a tile's rows do not share cache sets
};

#include "bodies/panels.inc"

// A row rounded to bf16, with zeros up to a multiple of 32.
static void round_row(size_t k, const float *x, uint16_t *y) {
    for (size_t i = 0; i < k; i += 32) {
        __m512 low = _mm512_maskz_loadu_ps(first16(k - i), x + i);
        __m512 high = k - i > 16 ? _mm512_maskz_loadu_ps(first16(k - i - 16), x + i + 16) : _mm512_setzero_ps();
        _mm512_store_si512(y + i, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
}

// Two rows rounded to bf16 and interleaved: element i of both is pair i. An absent second row counts as zeros.
static void round_pair(size_t m, const float *even, const float *odd, uint32_t *y) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5,
                                           20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (size_t i = 0; i < m; i += 16) {
        __mmask16 mask = first16(m - i);
        __m512 low = _mm512_maskz_loadu_ps(mask, even + i);
        __m512 high = odd ? _mm512_maskz_loadu_ps(mask, odd + i) : _mm512_setzero_ps();
        __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
        _mm512_mask_storeu_epi32(y + i, mask, _mm512_permutexvar_epi16(order, both));
    }
}

// A panel of n columns of a matrix that lies [column][k]: pair p of column c at panel[32 p + c], zeros beyond.
static void pack_transposed(size_t n, size_t k, const uint16_t *w, size_t ldw, uint32_t *panel) {
    for (size_t p = 0; p < k; p += 32)
        for (size_t half = 0; half < 32; half += 16) {
            __m512i rows[16];
            for (size_t c = 0; c < 16; c++)
                rows[c] = half + c < n ? _mm512_maskz_loadu_epi16(first32(k - p), w + (half + c) * ldw + p)
                                       : _mm512_setzero_si512();
            transpose(rows, panel + 16 * p + half);
        }
}

// The same of a matrix that lies [k][column].
static void pack_plain(size_t n, size_t k, const uint16_t *w, size_t ldw, uint32_t *panel) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5,
                                         36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    __mmask32 mask = first32(n);
    for (size_t p = 0; p < k; p += 2) {
        __m512i even = _mm512_maskz_loadu_epi16(mask, w + p * ldw);
        __m512i odd = p + 1 < k ? _mm512_maskz_loadu_epi16(mask, w + (p + 1) * ldw) : _mm512_setzero_si512();
        _mm512_store_si512(panel + 16 * p, _mm512_permutex2var_epi16(even, low, odd));
        _mm512_store_si512(panel + 16 * p + 16, _mm512_permutex2var_epi16(even, high, odd));
    }
}

// A tile of `rows` by 32: c = (c +) alpha · a · panel over `pairs` pairs, + h · b where there is a rank. A row's pairs lie
// side by side, or, when `columns`, a pair's rows do.
static inline __attribute__((always_inline)) void tile(const int rows, const int columns, size_t pairs, const uint16_t *a,
                                                       const uint32_t *panel, float alpha, int adds, size_t n, float *c,
                                                       size_t ldc, size_t rank, const float *h, const float *b,
                                                       size_t ldb) {
    fetch_result(rows, c, ldc);
    __m512 sums[TILE][2];
    _Pragma("unroll") for (int r = 0; r < rows; r++) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < pairs; p++) {
        __m512bh b0 = (__m512bh)_mm512_load_si512(panel + 32 * p);
        __m512bh b1 = (__m512bh)_mm512_load_si512(panel + 32 * p + 16);
        _Pragma("unroll") for (int r = 0; r < rows; r++) {
            int pair;
            __builtin_memcpy(&pair, columns ? a + 2 * (p * ROWS + r) : a + (size_t)r * STRIDE + 2 * p, sizeof pair);
            __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
            sums[r][0] = _mm512_dpbf16_ps(sums[r][0], x, b0);
            sums[r][1] = _mm512_dpbf16_ps(sums[r][1], x, b1);
        }
    }
    store(rows, sums, alpha, adds, n, c, ldc, rank, h, b, ldb);
}

static void any_tile(size_t rows, int columns, size_t pairs, const uint16_t *a, const uint32_t *panel, float alpha, int adds, size_t n,
                     float *c, size_t ldc, size_t rank, const float *h, const float *b, size_t ldb) {
#define CASE(R)                                                                             \
    case R: tile(R, 0, pairs, a, panel, alpha, adds, n, c, ldc, rank, h, b, ldb); break;    \
    case R + TILE: tile(R, 1, pairs, a, panel, alpha, adds, n, c, ldc, rank, h, b, ldb); break;
    switch (columns ? rows + TILE : rows) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
        CASE(14)
    }
#undef CASE
}

void ck_bf16_product_native(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, int x_transposed,
                            const uint16_t *w, size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                            void *scratch) {
    if (!m || !n || !k) return;
    uint32_t *panel = scratch;
    uint16_t *rounded = (uint16_t *)(panel + COLUMNS * DEPTH / 2);
    size_t depth = part(k, DEPTH, 32), height = part(m, ROWS, TILE);
    for (size_t p = 0; p < k; p += depth) {
        size_t kc = k - p < depth ? k - p : depth, pairs = (kc + 1) / 2;
        size_t rank = addend && p + kc == k ? addend->rank : 0;
        const float *h = rank ? addend->h : NULL, *b = rank ? addend->b : NULL;
        for (size_t i = 0; i < m; i += height) {
            size_t rows = m - i < height ? m - i : height;
            if (x_transposed)
                for (size_t q = 0; q < kc; q += 2)
                    round_pair(rows, x + (p + q) * ldx + i, q + 1 < kc ? x + (p + q + 1) * ldx + i : NULL,
                               (uint32_t *)rounded + q / 2 * ROWS);
            else
                for (size_t r = 0; r < rows; r++) round_row(kc, x + (i + r) * ldx + p, rounded + r * STRIDE);
            for (size_t j = 0; j < n; j += COLUMNS) {
                size_t width = n - j < COLUMNS ? n - j : COLUMNS;
                if (transposed) pack_transposed(width, kc, w + j * ldw + p, ldw, panel);
                else pack_plain(width, kc, w + p * ldw + j, ldw, panel);
                struct next_panel next = after(j + width, n, p, kc, w, ldw, transposed);
                for (size_t r = 0; r < rows; r += TILE) {
                    fetch(&next, r + TILE, rows);
                    any_tile(rows - r < TILE ? rows - r : TILE, x_transposed, pairs,
                             rounded + (x_transposed ? 2 * r : r * STRIDE), panel, alpha, adds || p,
                             width, c + (i + r) * ldc + j, ldc, rank, rank ? h + (i + r) * rank : h, rank ? b + j : b,
                             rank ? addend->ldb : 0);
                }
            }
        }
    }
}
#pragma clang attribute pop
#endif
