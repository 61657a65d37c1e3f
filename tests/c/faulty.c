/* A plugin in C that is wrong as FAULT says: a text given to the compiler. */
#include <stdlib.h>
#include <string.h>

#include "bitquilt.h"

/* The path of a file that is made by a constructor. */
#ifndef MARK
#define MARK ""
#endif

static int is(const char *fault) {
    return strcmp(FAULT, fault) == 0;
}

static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error) {
    (void)user, (void)importance;
    if (is("quantize fails")) {
        return bitquilt_fail(error, BITQUILT_UNSUPPORTED, "rows of %zu values do not suit me", row_len);
    }
    if (is("quantize fails silently")) {
        return BITQUILT_FAILED;
    }
    if (is("unknown status")) {
        return 77;
    }
    if (is("error without end")) {
        memset(error->text, 'n', error->capacity);
        return BITQUILT_FAILED;
    }
    if (is("error that a terminal obeys")) {
        return bitquilt_fail(error, BITQUILT_FAILED, "\x1b[31mred\a\r\tgone");
    }
    if (is("error of no UTF-8")) {
        memcpy(error->text, "n\xff\xfeo", 5);
        return BITQUILT_INVALID;
    }
    memcpy(dst, values, rows * row_len * sizeof(float));
    return BITQUILT_OK;
}

static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
    (void)user, (void)error;
    memcpy(dst, blocks, count * 16);
    return BITQUILT_OK;
}

static int32_t infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user, (void)error;
    const bitquilt_type *x = node->inputs[0];
    bitquilt_type *y = outputs[0];
    if (is("infer writes nothing")) {
        return BITQUILT_OK;
    }
    y->dtype = is("unknown dtype") ? 99 : is("encoding of an output is null") ? BITQUILT_ENCODED : x->dtype;
    y->rank = is("rank too high") ? 4000000000u : x->rank;
    memcpy(y->shape, x->shape, sizeof x->shape);
    if (is("dimension of nobody")) {
        y->shape[0] = -5;
    }
    if (is("least dimension")) {
        y->shape[0] = INT64_MIN;
    }
    return BITQUILT_OK;
}

static int32_t fail_in_task(void *data, size_t task, size_t worker, bitquilt_error *error) {
    (void)data, (void)worker;
    return task == 17 ? bitquilt_fail(error, BITQUILT_FAILED, "task %zu gave up", task) : BITQUILT_OK;
}

static void scratch(void *user, const bitquilt_run *run, bitquilt_scratch *scratch) {
    (void)user;
    scratch->shared = is("huge scratch") ? SIZE_MAX / 2 : 0;
    if (is("par_for without a run")) {
        /* There are no threads yet: answered with an error, which nobody reads. */
        (void)run->par_for(run, 1, fail_in_task, NULL, NULL);
    }
}

static int32_t run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    if (is("task fails")) {
        return run->par_for(run, 64, fail_in_task, NULL, error);
    }
    if (is("null task")) {
        return run->par_for(run, 64, NULL, NULL, error);
    }
    if (is("par_for without a run")) {
        return run->par_for(NULL, 64, fail_in_task, NULL, error);
    }
    if (is("decode of a dense input")) {
        return run->decode(run, 0, run->inputs[0]->data, 1, run->outputs[0]->output, error);
    }
    if (is("decode of no input")) {
        return run->decode(run, 99, run->inputs[0]->data, 1, run->outputs[0]->output, error);
    }
    memcpy(run->outputs[0]->output, run->inputs[0]->data, run->outputs[0]->bytes);
    return BITQUILT_OK;
}

#define LONG "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define LONGER LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG

/* Everything is written before `main` would run, so that a fault is a plain `if`. */
static bitquilt_encoding encoding = {
    .size = sizeof(bitquilt_encoding), .name = "faulty.raw", .version = 1, .block_len = 4, .block_bytes = 16,
    .quantize = quantize, .dequantize = dequantize};
static bitquilt_input input = {
    .size = sizeof(bitquilt_input), .name = "x", .kind = BITQUILT_INPUT_DENSE, .arity = BITQUILT_ARITY_ONE};
static bitquilt_value initial = {.size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_INT};
static bitquilt_attribute attribute = {
    .size = sizeof(bitquilt_attribute), .name = "a", .kind = BITQUILT_VALUE_INT, .initial = &initial};
static const bitquilt_input *inputs[] = {&input};
static const bitquilt_attribute *attributes[] = {&attribute};
static bitquilt_op op = {
    .size = sizeof(bitquilt_op), .name = "faulty.copy", .input_count = 1, .inputs = inputs, .attribute_count = 1,
    .attributes = attributes, .output_count = 1, .infer = infer, .scratch = scratch, .run = run};
static const bitquilt_encoding *encodings[] = {&encoding};
static const bitquilt_op *ops[] = {&op};

#if defined(NO_DATA)
BITQUILT_EXPORT void bitquilt_c_plugin_(void) __asm__("bitquilt_c_plugin");
void bitquilt_c_plugin_(void) {
    __builtin_trap();
}
#elif defined(SHORT_DATA)
BITQUILT_EXPORT const uint32_t bitquilt_c_plugin_ __asm__("bitquilt_c_plugin") = 1;
#else
BITQUILT_EXPORT bitquilt_plugin plugin __asm__("bitquilt_c_plugin") = {
    .magic = NO_MAGIC ? 1 : BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = "faulty",
    .version = "1.0.0", .encoding_count = 1, .encodings = encodings, .op_count = 1, .ops = ops};

__attribute__((constructor)) static void spoil(void) {
    if (is("constructor aborts")) abort();
    if (is("leaves a mark")) (void)!fopen(MARK, "w");
    if (is("magic lost in memory")) plugin.magic = 0;
    if (is("other api")) plugin.api = 2;
    if (is("size 0")) plugin.size = 0;
    if (is("size huge")) plugin.size = UINT32_MAX;
    if (is("no name")) plugin.name = NULL;
    if (is("empty name")) plugin.name = "";
    if (is("name without end")) plugin.name = LONGER;
    if (is("long name")) plugin.name = LONG "n";
    if (is("name of no UTF-8")) plugin.name = "na\xefve";
    if (is("no version")) plugin.version = NULL;
    if (is("version that a terminal obeys")) plugin.version = "1\x1b[2J";
    if (is("encodings null")) plugin.encodings = NULL;
    if (is("encodings misaligned")) plugin.encodings = (void *)((char *)encodings + 1);
    if (is("absurd count")) plugin.encoding_count = SIZE_MAX;
    if (is("nothing")) plugin.encoding_count = plugin.op_count = 0;
    if (is("encoding null")) encodings[0] = NULL;
    if (is("encoding misaligned")) encodings[0] = (void *)((char *)&encoding + 1);
    if (is("encoding size")) encoding.size = 8;
    if (is("encoding size huge")) encoding.size = SIZE_MAX;
    if (is("encoding name null")) encoding.name = NULL;
    if (is("encoding name foreign")) encoding.name = "na\xc3\xafve";
    if (is("importance")) encoding.importance = 9;
    if (is("no quantize")) encoding.quantize = NULL;
    if (is("no dequantize")) encoding.dequantize = NULL;
    if (is("block of no values")) encoding.block_len = 0;
    if (is("block of absurd bytes")) encoding.block_bytes = SIZE_MAX;
    if (is("op size")) op.size = 1;
    if (is("op name null")) op.name = NULL;
    if (is("no infer")) op.infer = NULL;
    if (is("no run")) op.run = NULL;
    if (is("no outputs")) op.output_count = 0;
    if (is("absurd outputs")) op.output_count = 1u << 30;
    if (is("absurd inputs")) op.input_count = 17;
    if (is("input null")) inputs[0] = NULL;
    if (is("input kind")) input.kind = 0;
    if (is("input arity")) input.arity = 44;
    if (is("attribute kind")) attribute.kind = 5;
    if (is("initial value of another kind")) initial.kind = BITQUILT_VALUE_TEXT;
    if (is("initial text null")) attribute.kind = initial.kind = BITQUILT_VALUE_TEXT;
}
#endif
