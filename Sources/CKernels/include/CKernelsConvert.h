// Conversions between the number formats of weight files and float.
//
// `source` and `destination` may have any alignment where they are `void *`; they never overlap.
// Results are the same on every processor in the default rounding mode. The 16-bit conversions do not depend on
// flush-to-zero settings; those of binary64 do. NaNs stay NaNs, and all but bfloat16's to binary32 come out quiet.
#ifndef CKERNELS_CONVERT_H
#define CKERNELS_CONVERT_H

#include <stddef.h>

// IEEE 754 binary16 to binary32, exact.
void ckernels_f32_from_f16(const void *source, float *destination, size_t count);

// bfloat16 (the upper half of a binary32) to binary32, exact, NaN payloads included.
void ckernels_f32_from_bf16(const void *source, float *destination, size_t count);

// IEEE 754 binary64 to binary32, to nearest, ties to even.
void ckernels_f32_from_f64(const void *source, float *destination, size_t count);

// binary32 to binary16, to nearest, ties to even; 65520 and above become infinity.
void ckernels_f16_from_f32(const float *source, void *destination, size_t count);

// binary32 to bfloat16, to nearest, ties to even.
void ckernels_bf16_from_f32(const float *source, void *destination, size_t count);

// binary32 to binary64, exact.
void ckernels_f64_from_f32(const float *source, void *destination, size_t count);

#endif
