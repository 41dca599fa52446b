// Products with a bf16 matrix on processors that multiply bf16 (AVX512_BF16: Cooper Lake, Zen 4 and later).
//
// Blocks as in Goto and van de Geijn 2008 (doi 10.1145/1356052.1356053): ROWS rows of the left side, rounded to bf16, stay
// in the second cache for one stretch of DEPTH of the inner size; a panel of COLUMNS of the matrix, rearranged as
// vdpbf16ps wants it, stays in the first; the accumulators of a tile of TILE by COLUMNS stay in registers. Nothing is
// rearranged beforehand: for several hundred rows doing so each time costs about two percent, and the matrix stays as it
// lies in its file.
#if defined(__x86_64__)
#include <immintrin.h>
#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2"))), \
                             apply_to = function)

enum {
    TILE = 14,                // with 2 vectors of columns: 28 accumulators of 32 registers
    COLUMNS = CK_BF16_COLUMNS,
    DEPTH = CK_BF16_DEPTH,
    ROWS = CK_BF16_ROWS,      // a multiple of TILE
    STRIDE = DEPTH + 32,      // of the rounded rows; not a power of two, so that a tile's rows do not share cache sets
};

static inline __mmask16 first16(size_t n) { return n >= 16 ? 0xffff : (__mmask16)((1u << n) - 1); }
static inline __mmask32 first32(size_t n) { return n >= 32 ? 0xffffffffu : (1u << n) - 1; }

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

// Sixteen rows of sixteen pairs: pair p of row r goes to y[32 p + r].
static inline void transpose_pairs(const __m512i *rows, uint32_t *y) {
    __m512i r[16], t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
    for (int i = 0; i < 16; i++) _mm512_store_si512(y + 32 * i, r[i]);
}

// A panel of n columns of a matrix that lies [column][k]: pair p of column c at panel[32 p + c], zeros beyond.
static void pack_transposed(size_t n, size_t k, const uint16_t *w, size_t ldw, uint32_t *panel) {
    for (size_t p = 0; p < k; p += 32)
        for (size_t half = 0; half < 32; half += 16) {
            __m512i rows[16];
            for (size_t c = 0; c < 16; c++)
                rows[c] = half + c < n ? _mm512_maskz_loadu_epi16(first32(k - p), w + (half + c) * ldw + p)
                                       : _mm512_setzero_si512();
            transpose_pairs(rows, panel + 16 * p + half);
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
    __mmask16 m0 = first16(n), m1 = n > 16 ? first16(n - 16) : 0;
    __m512 factor = _mm512_set1_ps(alpha);
    if (rank && alpha != 1) {
        _Pragma("unroll") for (int r = 0; r < rows; r++) {
            sums[r][0] = _mm512_mul_ps(sums[r][0], factor);
            sums[r][1] = _mm512_mul_ps(sums[r][1], factor);
        }
        factor = _mm512_set1_ps(1);
    }
    for (size_t i = 0; i < rank; i++) {
        __m512 b0 = _mm512_maskz_loadu_ps(m0, b + i * ldb), b1 = _mm512_maskz_loadu_ps(m1, b + i * ldb + 16);
        _Pragma("unroll") for (int r = 0; r < rows; r++) {
            __m512 s = _mm512_set1_ps(h[r * rank + i]);
            sums[r][0] = _mm512_fmadd_ps(s, b0, sums[r][0]);
            sums[r][1] = _mm512_fmadd_ps(s, b1, sums[r][1]);
        }
    }
    _Pragma("unroll") for (int r = 0; r < rows; r++) {
        float *y = c + (size_t)r * ldc;
        __m512 y0 = adds ? _mm512_maskz_loadu_ps(m0, y) : _mm512_setzero_ps();
        __m512 y1 = adds ? _mm512_maskz_loadu_ps(m1, y + 16) : _mm512_setzero_ps();
        _mm512_mask_storeu_ps(y, m0, _mm512_fmadd_ps(sums[r][0], factor, y0));
        _mm512_mask_storeu_ps(y + 16, m1, _mm512_fmadd_ps(sums[r][1], factor, y1));
    }
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

// Cuts `total` into equal parts of at most `most`, each a multiple of `grain`.
static size_t part(size_t total, size_t most, size_t grain) {
    size_t parts = (total + most - 1) / most;
    return ((total + parts - 1) / parts + grain - 1) / grain * grain;
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
                for (size_t r = 0; r < rows; r += TILE)
                    any_tile(rows - r < TILE ? rows - r : TILE, x_transposed, pairs,
                             rounded + (x_transposed ? 2 * r : r * STRIDE), panel, alpha, adds || p,
                             width, c + (i + r) * ldc + j, ldc, rank, rank ? h + (i + r) * rank : h, rank ? b + j : b,
                             rank ? addend->ldb : 0);
            }
        }
    }
}
#pragma clang attribute pop
#endif
