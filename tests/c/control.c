/* A plugin in C that leaves the floating-point control changed: after what PLACE says, as HOW says (texts given to the compiler). */
#include <fenv.h>
#include <string.h>

#include "bitquilt.h"

static void leave(const char *place) {
    if (strcmp(PLACE, place) != 0) {
        return;
    }
    if (strcmp(HOW, "up") == 0) {
        fesetround(FE_UPWARD);
    }
    if (strcmp(HOW, "zero") == 0) {
#if defined(__x86_64__)
        __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#else
        uint64_t control;
        __asm__ volatile("mrs %0, fpcr" : "=r"(control));
        control |= 1u << 24;
        __asm__ volatile("msr fpcr, %0" : : "r"(control));
#endif
    }
}

__attribute__((constructor)) static void constructor(void) {
    leave("constructor");
}

static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error) {
    (void)user, (void)importance, (void)error;
    memcpy(dst, values, rows * row_len * sizeof(float));
    leave("quantize");
    return BITQUILT_OK;
}

static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
    (void)user, (void)error;
    memcpy(dst, blocks, count * 16);
    leave("dequantize");
    return BITQUILT_OK;
}

static int32_t infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user, (void)error;
    outputs[0]->dtype = node->inputs[0]->dtype;
    outputs[0]->rank = node->inputs[0]->rank;
    memcpy(outputs[0]->shape, node->inputs[0]->shape, sizeof outputs[0]->shape);
    leave("infer");
    return BITQUILT_OK;
}

static void scratch(void *user, const bitquilt_run *run, bitquilt_scratch *scratch) {
    (void)user, (void)run, (void)scratch;
    leave("scratch");
}

/* Twice each value: what lies below the normal numbers is lost where such numbers become zero. */
static int32_t twice(void *data, size_t task, size_t worker, bitquilt_error *error) {
    const bitquilt_run *run = data;
    (void)worker, (void)error;
    const size_t count = run->inputs[0]->bytes / sizeof(float) / 8;
    const volatile float *x = (const volatile float *)run->inputs[0]->data + task * count;
    float *y = (float *)run->outputs[0]->output + task * count;
    for (size_t i = 0; i < count; i++) {
        y[i] = x[i] + x[i];
    }
    leave("task");
    return BITQUILT_OK;
}

static int32_t run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    const int32_t status = run->par_for(run, 8, twice, (void *)run, error);
    leave("run");
    return status;
}

static const bitquilt_encoding raw = {
    .size = sizeof(bitquilt_encoding), .name = "control.raw", .version = 1, .block_len = 4, .block_bytes = 16,
    .quantize = quantize, .dequantize = dequantize};
static const bitquilt_input x = {
    .size = sizeof(bitquilt_input), .name = "x", .kind = BITQUILT_INPUT_DENSE, .arity = BITQUILT_ARITY_ONE};
static const bitquilt_op op = {
    .size = sizeof(bitquilt_op), .name = "control.twice", .input_count = 1, .inputs = (const bitquilt_input *const[]){&x},
    .output_count = 1, .infer = infer, .scratch = scratch, .run = run};

BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = "control", .version = "1.0.0",
    .encoding_count = 1, .encodings = (const bitquilt_encoding *const[]){&raw},
    .op_count = 1, .ops = (const bitquilt_op *const[]){&op}};
