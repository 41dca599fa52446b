#include "CKernelsConvert.h"

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weight files are little-endian, and so must be the processor"
#endif

// Bodies are straight-line selects, so that the compiler turns each loop into vector code;
// memcpy of a fixed size is one unaligned load or store.

static inline uint16_t load16(const void *base, size_t index) {
    uint16_t value;
    memcpy(&value, (const char *)base + index * sizeof value, sizeof value);
    return value;
}

static inline void store16(void *base, size_t index, uint16_t value) {
    memcpy((char *)base + index * sizeof value, &value, sizeof value);
}

static inline uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. binary32: 1, 8 (bias 127), 23.
static inline float f32_from_f16(uint16_t half) {
    const uint32_t rebias = (uint32_t)(127 - 15) << 23;
    const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
    const uint32_t exponent = magnitude & 0x0f800000u;

    const uint32_t normal = magnitude + rebias;
    // An all-ones exponent stays all ones: twice the rebias. A fraction means NaN, made quiet.
    const uint32_t fraction = magnitude & 0x007fe000u;
    const uint32_t special = 0x7f800000u | fraction | (fraction ? 0x00400000u : 0);
    // A subnormal is fraction * 2^-24: let it be the fraction of a number with exponent -14, and take that
    // number's leading one away. Both operands and the result are normal or zero in binary32.
    const uint32_t subnormal = bits_of(float_of(magnitude + rebias + (1u << 23)) - float_of(rebias + (1u << 23)));

    const uint32_t unsigned_bits = exponent == 0x0f800000u ? special : exponent == 0 ? subnormal : normal;
    return float_of(unsigned_bits | (uint32_t)(half & 0x8000u) << 16);
}

static inline uint16_t f16_from_f32(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t magnitude = bits & 0x7fffffffu;

    const uint32_t quiet = 0x7e00u | (magnitude >> 13 & 0x3ffu);
    const uint32_t special = magnitude > 0x7f800000u ? quiet : 0x7c00u;
    // Round to the tenth fraction bit: add just under half a unit, and one more if the last kept bit is odd.
    // A carry runs into the exponent, which is what rounding up to the next power of two, or to infinity, means.
    const uint32_t odd = magnitude >> 13 & 1;
    const uint32_t normal = (magnitude - ((uint32_t)(127 - 15) << 23) + 0xfffu + odd) >> 13;
    // Below 2^-14 the unit is 2^-24, the unit of binary32 numbers in [0.5, 1): adding 0.5 rounds to it.
    const uint32_t half_bits = 0x3f000000u;
    const uint32_t subnormal = bits_of(float_of(magnitude) + float_of(half_bits)) - half_bits;

    const uint32_t least_normal = (uint32_t)(127 - 14) << 23;
    const uint32_t two_to_16 = (uint32_t)(127 + 16) << 23;
    const uint32_t result = magnitude >= two_to_16 ? special : magnitude < least_normal ? subnormal : normal;
    return (uint16_t)(result | (bits >> 16 & 0x8000u));
}

static inline uint16_t bf16_from_f32(float value) {
    const uint32_t bits = bits_of(value);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
    const uint32_t quiet = bits >> 16 | 0x0040u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

void ckernels_f32_from_f16(const void *restrict source, float *restrict destination, size_t count) {
    for (size_t i = 0; i < count; i++) destination[i] = f32_from_f16(load16(source, i));
}

void ckernels_f32_from_bf16(const void *restrict source, float *restrict destination, size_t count) {
    // Through integers: a float register would be free to quiet a signalling NaN.
    for (size_t i = 0; i < count; i++) {
        const uint32_t bits = (uint32_t)load16(source, i) << 16;
        memcpy(destination + i, &bits, sizeof bits);
    }
}

void ckernels_f32_from_f64(const void *restrict source, float *restrict destination, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double value;
        memcpy(&value, (const char *)source + i * sizeof value, sizeof value);
        destination[i] = (float)value;
    }
}

void ckernels_f16_from_f32(const float *restrict source, void *restrict destination, size_t count) {
    for (size_t i = 0; i < count; i++) store16(destination, i, f16_from_f32(source[i]));
}

void ckernels_bf16_from_f32(const float *restrict source, void *restrict destination, size_t count) {
    for (size_t i = 0; i < count; i++) store16(destination, i, bf16_from_f32(source[i]));
}

void ckernels_f64_from_f32(const float *restrict source, void *restrict destination, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const double value = source[i];
        memcpy((char *)destination + i * sizeof value, &value, sizeof value);
    }
}
