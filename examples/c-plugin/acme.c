/*
 * A bitquilt plugin in C: the encodings `acme.c_int4` and `acme.c_ternary`, and the op `acme.c_row_norms`, which reads tensors of any
 * encoding.
 *
 *     cc -std=c11 -O2 -fPIC -shared -I ../../plugins/c-bridge/include acme.c -o libacme_c.so -lm
 */
#include <math.h>
#include <string.h>

#include "bitquilt.h"

/* ---- acme.c_int4: 4-bit integers with a scale for each 32 values ---- */

/* Values in a block. */
#define BLOCK_LEN 32
/* Bytes of a block: the scale as f32, little-endian, then two values a byte, the first in the lower half. */
#define BLOCK_BYTES (4 + BLOCK_LEN / 2)

static void store_f32(uint8_t *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(bits >> (8 * i));
    }
}

static float load_f32(const uint8_t *bytes) {
    uint32_t bits = 0;
    for (int i = 0; i < 4; i++) {
        bits |= (uint32_t)bytes[i] << (8 * i);
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A value is stored as a code of 1 to 15 and stands for (code - 8) * scale. */
static uint8_t code(float value, float scale) {
    return scale == 0.0f ? 8 : (uint8_t)((int)roundf(value / scale) + 8);
}

static int32_t int4_quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance,
                             uint8_t *dst, bitquilt_error *error) {
    (void)user, (void)importance, (void)error;
    for (size_t block = 0; block < rows * row_len / BLOCK_LEN; block++, values += BLOCK_LEN, dst += BLOCK_BYTES) {
        float largest = 0.0f;
        for (int i = 0; i < BLOCK_LEN; i++) {
            largest = fmaxf(largest, fabsf(values[i]));
        }
        /* A scale that is no normal number would not hold the ratio of two values. */
        const float scale = largest / 7.0f < 1.17549435e-38f ? 0.0f : largest / 7.0f;
        store_f32(dst, scale);
        for (int i = 0; i < BLOCK_LEN / 2; i++) {
            dst[4 + i] = (uint8_t)(code(values[2 * i], scale) | code(values[2 * i + 1], scale) << 4);
        }
    }
    return BITQUILT_OK;
}

static int32_t int4_dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
    (void)user, (void)error;
    for (size_t block = 0; block < count; block++, blocks += BLOCK_BYTES, dst += BLOCK_LEN) {
        const float scale = load_f32(blocks);
        for (int i = 0; i < BLOCK_LEN / 2; i++) {
            dst[2 * i] = (float)((blocks[4 + i] & 15) - 8) * scale;
            dst[2 * i + 1] = (float)((blocks[4 + i] >> 4) - 8) * scale;
        }
    }
    return BITQUILT_OK;
}

static const bitquilt_encoding int4 = {
    .size = sizeof(bitquilt_encoding),
    .name = "acme.c_int4",
    .summary = "4-bit integers with an f32 scale for each 32, in C",
    .version = 1,
    .importance = BITQUILT_IMPORTANCE_IGNORED,
    .block_len = BLOCK_LEN,
    .block_bytes = BLOCK_BYTES,
    .quantize = int4_quantize,
    .dequantize = int4_dequantize,
    /* What the two functions do, as data: so that the host's kernels can multiply with the weights. */
    .layout = "name = \"acme.c_int4\"\n"
              "block_len = 32\n"
              "block_bytes = 20\n"
              "codes = { at = 4, bits = 4 }\n"
              "offset = 8\n"
              "scale = { at = 0, dtype = \"f32\" }\n",
};

/* ---- acme.c_ternary: -1, 0 or 1 times a scale for each 128 values, all of it declared ---- */

static const bitquilt_encoding ternary = {
    .size = sizeof(bitquilt_encoding),
    .name = "acme.c_ternary",
    .layout = "name = \"acme.c_ternary\"\n"
              "summary = \"-1, 0 or 1 times an f16 scale for each 128\"\n"
              "block_len = 128\n"
              "block_bytes = 34\n"
              "codes = { at = 2, bits = 2 }\n"
              "values = [-1.0, 0.0, 1.0]\n"
              "unused = 0.0\n"
              "scale = { at = 0, dtype = \"f16\" }\n",
};

/* ---- acme.c_row_norms(w; scale): the Euclidean length of each row of an encoded matrix, f32 [rows], times `scale` ---- */

static int32_t norms_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user;
    const bitquilt_type *w = node->inputs[0];
    if (w->rank != 2) {
        return bitquilt_fail(error, BITQUILT_INVALID, "`w` has %u dimensions; a matrix is expected", (unsigned)w->rank);
    }
    outputs[0]->dtype = BITQUILT_F32;
    outputs[0]->rank = 1;
    outputs[0]->shape[0] = w->shape[0];
    return BITQUILT_OK;
}

/* One decoded row a worker. */
static void norms_scratch(void *user, const bitquilt_run *run, bitquilt_scratch *scratch) {
    (void)user;
    scratch->per_worker = run->inputs[0]->shape[1] * sizeof(float);
}

static int32_t norm_of_row(void *data, size_t row, size_t worker, bitquilt_error *error) {
    const bitquilt_run *run = data;
    const bitquilt_tensor *w = run->inputs[0];
    const size_t columns = w->shape[1], blocks = columns / w->block_len;
    float *values = (float *)(run->per_worker + worker * run->worker_stride);
    const uint8_t *row_blocks = (const uint8_t *)w->data + row * blocks * w->block_bytes;
    const int32_t status = run->decode(run, 0, row_blocks, blocks, values, error);
    if (status != BITQUILT_OK) {
        return status;
    }
    double sum = 0.0;
    for (size_t column = 0; column < columns; column++) {
        sum += (double)values[column] * (double)values[column];
    }
    ((float *)run->outputs[0]->output)[row] = (float)(sqrt(sum) * run->attributes[0]->number);
    return BITQUILT_OK;
}

static int32_t norms_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    return run->par_for(run, run->inputs[0]->shape[0], norm_of_row, (void *)run, error);
}

static const bitquilt_input norms_w = {
    .size = sizeof(bitquilt_input), .name = "w", .kind = BITQUILT_INPUT_ENCODED, .arity = BITQUILT_ARITY_ONE};
static const bitquilt_value one = {.size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_FLOAT, .number = 1.0};
static const bitquilt_attribute norms_scale = {
    .size = sizeof(bitquilt_attribute), .name = "scale", .kind = BITQUILT_VALUE_FLOAT, .initial = &one};

static const bitquilt_op row_norms = {
    .size = sizeof(bitquilt_op),
    .name = "acme.c_row_norms",
    .summary = "the length of each row of an encoded matrix, times `scale`",
    .input_count = 1,
    .inputs = (const bitquilt_input *const[]){&norms_w},
    .attribute_count = 1,
    .attributes = (const bitquilt_attribute *const[]){&norms_scale},
    .output_count = 1,
    .infer = norms_infer,
    .scratch = norms_scratch,
    .run = norms_run,
};

/* ---- The plugin ---- */

BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC,
    .api = BITQUILT_C_API,
    .size = sizeof(bitquilt_plugin),
    .name = "acme-c",
    .version = "0.1.0",
    .encoding_count = 2,
    .encodings = (const bitquilt_encoding *const[]){&int4, &ternary},
    .op_count = 1,
    .ops = (const bitquilt_op *const[]){&row_norms},
};
