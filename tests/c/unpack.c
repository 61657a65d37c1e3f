/* Encodings in C that unpack their blocks. FAULT is what `unpack` does wrong; the other macros change what is said of the first encoding. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "bitquilt.h"

#ifndef FAULT
#define FAULT ""
#endif
#ifndef SIZE
#define SIZE sizeof(bitquilt_encoding)
#endif
#ifndef BLOCK_LEN
#define BLOCK_LEN 64
#endif
#ifndef GROUP_LEN
#define GROUP_LEN 32
#endif
#ifndef BITS
#define BITS 4
#endif
#ifndef OFFSET
#define OFFSET 8
#endif
#ifndef MINIMA
#define MINIMA 0
#endif
#ifndef RESERVED
#define RESERVED 0
#endif
#ifndef UNPACK
#define UNPACK unpack
#endif
#ifndef DEQUANTIZE
#define DEQUANTIZE dequantize
#define QUANTIZE quantize
#endif
#ifndef LAYOUT
#define LAYOUT NULL
#endif
#ifndef COUNT
#define COUNT 6
#endif

static int is(const char *fault) {
    return strcmp(FAULT, fault) == 0;
}

/* What an encoding is made of. A block is a scale, a minimum if there are some, and a byte for each code, group after group. */
typedef struct kind {
    size_t block_len, group_len;
    uint32_t bits, offset, minima;
} kind;

static size_t group_bytes(const kind *k) {
    return 4 + 4 * k->minima + k->group_len;
}

static float load_f32(const uint8_t *bytes) {
    float value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static void quantize_group(const kind *k, const float *values, uint8_t *dst) {
    const float most = (float)((1u << k->bits) - 1);
    float low = values[0], high = values[0];
    for (size_t i = 1; i < k->group_len; i++) {
        low = fminf(low, values[i]);
        high = fmaxf(high, values[i]);
    }
    if (k->bits == 1) {
        /* Two values: their mean magnitude, and that below zero. */
        float sum = 0.0f;
        for (size_t i = 0; i < k->group_len; i++) {
            sum += fabsf(values[i]) / (float)k->group_len;
        }
        high = sum;
        low = -sum;
    }
    const float span = k->minima ? high / most - low / most : fmaxf(high, -low) / (float)(k->offset > 0 ? k->offset : 1);
    const float scale = span < FLT_MIN ? 0.0f : span, min = k->minima ? low : 0.0f;
    memcpy(dst, &scale, 4);
    if (k->minima) {
        memcpy(dst + 4, &min, 4);
    }
    for (size_t i = 0; i < k->group_len; i++) {
        const float code = scale == 0.0f ? 0.0f : roundf(values[i] / scale - min / scale);
        dst[4 + 4 * k->minima + i] = (uint8_t)fmaxf(0.0f, fminf(most, code + (float)k->offset));
    }
}

static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error) {
    const kind *k = user;
    (void)importance, (void)error;
    for (size_t group = 0; group < rows * row_len / k->group_len; group++) {
        quantize_group(k, values + group * k->group_len, dst + group * group_bytes(k));
    }
    return BITQUILT_OK;
}

static int32_t unpack(void *user, const uint8_t *blocks, size_t count, uint8_t *codes, float *scales, float *minima,
                      bitquilt_error *error) {
    const kind *k = user;
    const size_t groups = count * k->block_len / k->group_len, values = groups * k->group_len;
    if (is("it fails")) {
        return bitquilt_fail(error, BITQUILT_INVALID, "no blocks today");
    }
    if (is("it fails silently")) {
        return BITQUILT_FAILED;
    }
    if (is("no status")) {
        return 77;
    }
    if ((minima != NULL) != (k->minima == 1)) {
        return bitquilt_fail(error, BITQUILT_FAILED, "minima are where there are none, or the reverse");
    }
    for (size_t group = 0; group < groups; group++, blocks += group_bytes(k)) {
        if (!(is("a scale is left") && group == groups - 1)) {
            scales[group] = load_f32(blocks) * (is("other values") ? 1.001f : 1.0f);
        }
        if (k->minima) {
            minima[group] = load_f32(blocks + 4);
        }
        for (size_t i = 0; i < k->group_len; i++) {
            if (!(is("a code is left") && group == groups - 1 && i == 3)) {
                codes[group * k->group_len + i] = blocks[4 + 4 * k->minima + i] & ((1u << k->bits) - 1);
            }
        }
    }
    if (groups > 3) {
        codes[k->block_len + 5] = is("code too large") ? 16 : codes[k->block_len + 5];
        scales[3] = is("scale of no number") ? NAN : is("infinite scale") ? INFINITY : scales[3];
        if (k->minima) {
            minima[2] = is("minimum of no number") ? NAN : minima[2];
        }
    }
    if (is("it writes beyond")) {
        codes[values] = 0;
    }
    return BITQUILT_OK;
}

static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
    const kind *k = user;
    (void)error;
    for (size_t group = 0; group < count * k->block_len / k->group_len; group++, blocks += group_bytes(k), dst += k->group_len) {
        const float scale = load_f32(blocks), min = k->minima ? load_f32(blocks + 4) : 0.0f;
        for (size_t i = 0; i < k->group_len; i++) {
            const int code = blocks[4 + 4 * k->minima + i] & ((1 << k->bits) - 1);
            dst[i] = (float)(code - (int)k->offset) * scale + min;
        }
    }
    return BITQUILT_OK;
}

#define BLOCK_BYTES(block_len, group_len, minima) ((block_len) / (group_len) * (4 + 4 * (minima) + (group_len)))

#define ENCODING(id, len, group, width, taken, mins)                                                                                  \
    static const kind id##_kind = {.block_len = len, .group_len = group, .bits = width, .offset = taken, .minima = mins};             \
    static const bitquilt_encoding id = {.size = sizeof(bitquilt_encoding), .name = "unpack." #id, .version = 1, .block_len = len,    \
                                         .block_bytes = BLOCK_BYTES(len, group, mins), .user = (void *)&id##_kind,                    \
                                         .quantize = quantize, .dequantize = dequantize, .unpack = unpack, .group_len = group,        \
                                         .code_bits = width, .code_offset = taken, .has_minima = mins}

ENCODING(wide, 64, 64, 8, 128, 0);
ENCODING(halves, 64, 16, 3, 4, 0);
ENCODING(min5, 96, 32, 5, 0, 1);
ENCODING(min7, 96, 48, 7, 0, 1);
ENCODING(bits, 32, 32, 1, 0, 1);

static const kind first_kind = {.block_len = BLOCK_LEN, .group_len = GROUP_LEN, .bits = BITS, .offset = OFFSET, .minima = MINIMA == 1};
static const bitquilt_encoding first = {
    .size = SIZE,
    .name = "unpack.first",
    .version = 1,
    .block_len = BLOCK_LEN,
    .block_bytes = BLOCK_BYTES(BLOCK_LEN, GROUP_LEN, MINIMA == 1),
    .user = (void *)&first_kind,
    .quantize = QUANTIZE,
    .dequantize = DEQUANTIZE,
    .layout = LAYOUT,
    .unpack = UNPACK,
    .group_len = GROUP_LEN,
    .code_bits = BITS,
    .code_offset = OFFSET,
    .has_minima = MINIMA,
    .reserved = RESERVED,
};

BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC,
    .api = BITQUILT_C_API,
    .size = sizeof(bitquilt_plugin),
    .name = "unpack",
    .version = "1",
    .encoding_count = COUNT,
    .encodings = (const bitquilt_encoding *const[]){&first, &wide, &halves, &min5, &min7, &bits},
};
