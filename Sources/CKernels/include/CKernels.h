// Vector loops that Swift cannot express well: reassociated reductions, exponentials, fused epilogues.
//
// Every function is plain C over float buffers, without state. Each body is compiled three times (AVX-512, AVX2 with
// FMA, and the baseline of the architecture) and reached through one table, chosen at the first call from what the
// processor has. LORAJOBS_CPU=avx512|avx2|plain overrides the choice, downwards only.
//
// Conventions: matrices are row-major and dense; `rows` x `cols`. No function allocates. Buffers do not overlap unless a
// comment says that two may be the same.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stddef.h>
#include <stdint.h>
#include "CKernelsConvert.h"

// What a product of low rank adds: h [m][rank] · b [rank][n], the rows of b ldb apart; the rank is a multiple of CK_RANKS.
typedef struct ck_low_rank {
    const float *h;
    const float *b;
    size_t ldb;
    size_t rank;
} ck_low_rank;

enum { CK_RANKS = 8 };

typedef struct ck_table {
    const char *name;

    // y += a * x
    void (*axpy)(size_t n, float a, const float *x, float *y);
    // y = a * x; x may be y
    void (*scale)(size_t n, float a, const float *x, float *y);
    // z = x + y; z may be x or y
    void (*add)(size_t n, const float *x, const float *y, float *z);
    // Σ x² in double precision
    double (*sum_of_squares)(size_t n, const float *x);
    // Σ x·y
    float (*dot)(size_t n, const float *x, const float *y);
    // Whether every element is finite.
    int (*all_finite)(size_t n, const float *x);

    // every row of y += bias
    void (*add_row)(size_t rows, size_t cols, const float *bias, float *y);
    // sums[c] += Σ_rows x[r][c]
    void (*column_sums)(size_t rows, size_t cols, const float *x, float *sums);

    // GELU with tanh, as GPT-2: y = x/2 (1 + tanh(√(2/π)(x + 0.044715 x³)))
    void (*gelu_tanh)(size_t n, const float *x, float *y);
    // dx = dy · gelu'(x); dx may be dy
    void (*gelu_tanh_backward)(size_t n, const float *x, const float *dy, float *dx);
    // GELU itself: y = x/2 (1 + erf(x/√2))
    void (*gelu_erf)(size_t n, const float *x, float *y);
    // dx = dy · gelu'(x); dx may be dy
    void (*gelu_erf_backward)(size_t n, const float *x, const float *dy, float *dx);
    // y = silu(gate) · up
    void (*swiglu)(size_t n, const float *gate, const float *up, float *y);
    // dgate and dup from dy
    void (*swiglu_backward)(size_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup);

    // y = gelu_tanh(gate) · up
    void (*geglu)(size_t n, const float *gate, const float *up, float *y);
    // dgate and dup from dy
    void (*geglu_backward)(size_t n, const float *gate, const float *up, const float *dy, float *dgate, float *dup);
    // y = x σ(1.702 x)
    void (*quick_gelu)(size_t n, const float *x, float *y);
    // dx from dy; dx may be dy
    void (*quick_gelu_backward)(size_t n, const float *x, const float *dy, float *dx);
    // x = cap · tanh(scale · x / cap), in place
    void (*soft_cap)(size_t n, float scale, float cap, float *x);
    // dy = dy · (1 − (y/cap)²) with y from soft_cap; without the factor scale
    void (*soft_cap_backward)(size_t n, float cap, const float *y, float *dy);

    // y = (x − mean) · rstd · weight + bias, row by row; mean and rstd are kept, one a row
    void (*layer_norm)(size_t rows, size_t cols, float eps, const float *x, const float *weight, const float *bias,
                       float *y, float *mean, float *rstd);
    // dx (+= when adds, or =) and, unless null, dweight and dbias (+=)
    void (*layer_norm_backward)(size_t rows, size_t cols, const float *x, const float *weight, const float *mean,
                                const float *rstd, const float *dy, int adds, float *dx, float *dweight,
                                float *dbias);
    // y = x · rstd · weight, rstd = 1/√(mean(x²) + eps)
    void (*rms_norm)(size_t rows, size_t cols, float eps, const float *x, const float *weight, float *y, float *rstd);
    // dx (+= when adds, or =) and, unless null, dweight (+=)
    void (*rms_norm_backward)(size_t rows, size_t cols, const float *x, const float *weight, const float *rstd,
                              const float *dy, int adds, float *dx, float *dweight);

    // Rotates pairs (i, i + dim/2) of every head by the row's angles; cosines and sines are [rows][dim/2].
    // sign = 1 forward, −1 backward. In place.
    void (*rotate_halves)(size_t rows, size_t heads, size_t head_dim, size_t dim, float sign, const float *cosines,
                          const float *sines, float *x, size_t row_stride);

    // A stretch of a row of scores: the first n become exp(scale·(s − m)), where m is the largest so far, this stretch's
    // included; entries n..<width become 0. In place. maximum (at first −∞) and sum (0) hold m and Σ exp(scale·(s − m)) of all
    // stretches so far; returns what anything summed up with the earlier m is to be multiplied by (Milakov, Gimelshein 2018,
    // arXiv 1805.02867). scale > 0.
    float (*softmax_stretch)(size_t n, size_t width, float scale, float *maximum, float *sum, float *s);
    // Attention weights of known lse = log Σ exp(scale·s): p = exp(scale·s − lse) for the first n, 0 up to width.
    void (*softmax_row_from_lse)(size_t n, size_t width, float scale, float lse, float *s);
    // ds = p · (dp − delta) · scale; ds may be dp
    void (*softmax_row_backward)(size_t width, float scale, float delta, const float *p, const float *dp, float *ds);

    // log Σ exp(x) over a row
    float (*log_sum_exp)(size_t n, const float *x);
    // x = exp(x − lse) · scale: the softmax times a factor, in place
    void (*softmax_scaled)(size_t n, float lse, float scale, float *x);

    // Elements stay with probability 1 − p and are multiplied by 1/(1 − p); element i of the stream `key` decides
    // the i-th one from `first` on. y may be x.
    void (*dropout)(size_t n, uint64_t key, uint64_t first, float p, const float *x, float *y);
    // Uniform numbers in [low, high) from the stream `key`
    void (*uniform)(size_t n, uint64_t key, uint64_t first, float low, float high, float *y);

    // One AdamW step with decoupled weight decay, as torch.optim.AdamW:
    // w −= lr·decay·w; m, v updated; w −= step_size · m / (√v / correction2_sqrt + eps)
    void (*adamw)(size_t n, float lr, float beta1, float beta2, float eps, float decay, float step_size,
                  float correction2_sqrt, const float *g, float grad_scale, float *w, float *m, float *v);

    // y[i] += alpha · Σ_j w[i][j] x[j] for `rows` rows of a matrix whose rows lie ldw apart
    void (*dot_rows)(size_t rows, size_t cols, float alpha, const float *w, size_t ldw, const float *x, float *y);
    void (*dot_rows_bf16)(size_t rows, size_t cols, float alpha, const uint16_t *w, size_t ldw, const float *x, float *y);
    // y[j] += alpha · Σ_i x[i] w[i][j] over `rows` rows
    void (*sum_rows)(size_t rows, size_t cols, float alpha, const float *w, size_t ldw, const float *x, float *y);
    void (*sum_rows_bf16)(size_t rows, size_t cols, float alpha, const uint16_t *w, size_t ldw, const float *x, float *y);
    // ck_bf16_product without the processor's own products of bf16
    void (*bf16_product)(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, int x_transposed,
                         const uint16_t *w, size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                         void *scratch);

    // y [rows][cols], dense, = x rounded to bf16, whose rows lie ldx apart
    void (*round_rows_bf16)(size_t rows, size_t cols, const float *x, size_t ldx, uint16_t *y);

    // h [rows][rank] = alpha · x [rows][k] · aᵀ, a [rank][k]; the rank is a multiple of CK_RANKS here and below
    void (*low_rank_down)(size_t rows, size_t k, size_t rank, float alpha, const float *x, const float *a, float *h);
    // y [rows][n] += h [rows][rank] · b [rank][n]; rows of b and y lie ldb and ldy apart
    void (*low_rank_up)(size_t rows, size_t n, size_t rank, const float *h, const float *b, size_t ldb, float *y, size_t ldy);
    // g [rank][n] += u [rows][rank]ᵀ · x [rows][n]; rows of x and g lie ldx and ldg apart
    void (*low_rank_gradient)(size_t rows, size_t n, size_t rank, const float *u, const float *x, size_t ldx, float *g,
                              size_t ldg);
} ck_table;

// How ck_bf16_product cuts its operands; and the bytes of scratch, on a cache line, that it wants.
enum {
    CK_BF16_COLUMNS = 32,
    CK_BF16_DEPTH = 768,
    CK_BF16_ROWS = 518,
    CK_BF16_SCRATCH = 2 * (CK_BF16_COLUMNS * CK_BF16_DEPTH + CK_BF16_ROWS * (CK_BF16_DEPTH + 32)),
};

// The same for ck_widened_product.
enum {
    CK_WIDENED_DEPTH = 768,
    CK_WIDENED_ROWS = 266,
    CK_WIDENED_SCRATCH = 4 * (CK_BF16_COLUMNS * CK_WIDENED_DEPTH + CK_WIDENED_ROWS * (CK_WIDENED_DEPTH + 16)),
};

// c[m][n] = (c +, when adds) alpha · op(x) · op(w), with x, [m][k] or transposed [k][m], rounded to bf16 (nearest, ties to even), products and sums in
// single precision, and the addend, unless null, on top in single precision. w holds bf16: [k][n], or transposed [n][k].
// Rows lie ldx, ldw, ldc apart. On the calling thread.
void ck_bf16_product(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, int x_transposed,
                     const uint16_t *w, size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend, void *scratch);

// Whether ck_bf16_product has the processor's own products of bf16.
int ck_multiplies_bf16(void);

// c[m][n] = (c +, when adds) alpha · x · op(w), and the addend, unless null, on top, all in single precision. w holds bf16,
// which is widened: [k][n], or transposed [n][k]. Only where ck_multiplies_widened.
void ck_widened_product(size_t m, size_t n, size_t k, float alpha, const float *x, size_t ldx, const uint16_t *w,
                        size_t ldw, int transposed, int adds, float *c, size_t ldc, const ck_low_rank *addend,
                        void *scratch);

// Whether the chosen kernels have that product.
int ck_multiplies_widened(void);

// The OPENBLAS_CORETYPE that is faster here than what OpenBLAS 0.3.21 chooses by itself, or null.
const char *ck_openblas_coretype(void);

// A hint to the processor that the caller spins.
static inline void ck_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

// The table for this processor.
const ck_table *ck_kernels(void);

// The table of one variant, "avx512", "avx2" or "plain"; null when this processor cannot run it.
const ck_table *ck_kernels_named(const char *name);

#endif
