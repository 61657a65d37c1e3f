/* A plugin in C that is wrong as FAULT says: a text given to the compiler. */
#include <stdlib.h>
#include <string.h>

#include "bitquilt.h"

/* Whether the op has a kernel above its own. */
#ifndef KERNELS
#define KERNELS 1
#endif

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

/* What `prepare` made, and of it, what was destroyed. */
static int prepared_count, destroyed;

static int32_t infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user, (void)error;
    const bitquilt_type *x = node->inputs[0];
    bitquilt_type *y = outputs[0];
    if (x->dtype == BITQUILT_I64) {
        return bitquilt_fail(error, BITQUILT_INVALID, "%d prepared, %d destroyed", prepared_count, destroyed);
    }
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
    if (is("dimension of an attribute alone")) {
        y->shape[0] = -1;
    }
    if (is("alias of nobody")) {
        y->alias = BITQUILT_ALIAS(1);
    }
    if (is("absurd alias")) {
        y->alias = SIZE_MAX;
    }
    if (is("alias of another type")) {
        y->alias = BITQUILT_ALIAS(0);
        y->dtype = BITQUILT_I32;
    }
    if (is("par_for before prepare")) {
        return node->par_for(node, 1, NULL, NULL, error);
    }
    if (is("decode before prepare")) {
        return node->decode(node, 0, NULL, 1, NULL, error);
    }
    if (is("memory before prepare")) {
        void *memory;
        return node->memory(node, 1, &memory, error);
    }
    if (is("nobody's node")) {
        if (node->position(NULL, "x") != BITQUILT_NONE || node->position(node, NULL) != BITQUILT_NONE
            || node->option(NULL, "isa") != NULL || node->option(node, NULL) != NULL) {
            return bitquilt_fail(error, BITQUILT_FAILED, "something was found nowhere");
        }
        return node->par_for(NULL, 1, NULL, NULL, error);
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

/* ---- The kernel: as the op's own, above it ---- */

static int32_t supports(void *user, const bitquilt_node *node, bitquilt_error *reason) {
    (void)user, (void)node;
    return is("supports fails silently") ? BITQUILT_UNSUPPORTED : is("supports with no status") ? 77
         : is("supports says why")      ? bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "not on a Monday")
                                        : BITQUILT_OK;
}

static int32_t decode_in_task(void *data, size_t task, size_t worker, bitquilt_error *error) {
    const bitquilt_node *node = data;
    (void)worker;
    return task < 3 ? BITQUILT_OK : node->decode(node, 2 + task, NULL, 1, NULL, error);
}

static int32_t prepare(void *user, const bitquilt_node *node, bitquilt_prepared *prepared, bitquilt_error *error) {
    void *memory;
    (void)user;
    if (is("prepare fails")) return bitquilt_fail(error, BITQUILT_FAILED, "no kernel today");
    if (is("prepare's task fails")) return node->par_for(node, 64, fail_in_task, NULL, error);
    if (is("prepare's null task")) return node->par_for(node, 1, NULL, NULL, error);
    if (is("prepare's task decodes nothing")) return node->par_for(node, 8, decode_in_task, (void *)node, error);
    if (is("prepare decodes a dense input")) return node->decode(node, 0, NULL, 1, NULL, error);
    if (is("absurd memory")) return node->memory(node, SIZE_MAX, &memory, error);
    if (is("memory for nobody")) return node->memory(node, 1, NULL, error);
    if (is("memory misaligned")) return node->memory(node, 1, (void **)((char *)&memory + 1), error);
    prepared->data = &destroyed;
    prepared_count++;
    if (is("releases a run's input")) prepared->releases[0] = 1;
    if (is("releases nobody")) prepared->releases[1] = 1;
    if (is("releases how")) prepared->releases[0] = 2;
    if (is("or_next without a next")) prepared->or_next = node->next == NULL;
    if (is("serves with no status")) prepared->or_next = 1;
    if (is("or_next without serves")) prepared->or_next = 1;
    if (is("reserved in what is prepared")) prepared->reserved = 1;
    if (is("or_next how")) prepared->or_next = 3;
    if (is("note of no UTF-8")) prepared->note = "na\xefve";
    if (is("note that a terminal obeys")) prepared->note = "\x1b[2J";
    return BITQUILT_OK;
}

static int32_t serves(void *user, const bitquilt_run *run) {
    (void)user, (void)run;
    return 77;
}

static void destroy(void *user, void *prepared) {
    (void)user;
    ++*(int *)prepared;
}

#define LONG "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
#define LONGER LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG

/* Everything is written before `main` would run, so that a fault is a plain `if`. */
#define DECLARED(name, bytes)                                                                                     \
    "name = \"" name "\"\nblock_len = 4\nblock_bytes = " bytes "\ncodes = { at = 4, bits = 4 }\noffset = 8\n"      \
    "scale = { at = 0, dtype = \"f32\" }\n"
static bitquilt_encoding encoding = {
    .size = sizeof(bitquilt_encoding), .name = "faulty.raw", .version = 1, .block_len = 4, .block_bytes = 16,
    .quantize = quantize, .dequantize = dequantize};
static bitquilt_input input = {
    .size = sizeof(bitquilt_input), .name = "x", .kind = BITQUILT_INPUT_DENSE, .arity = BITQUILT_ARITY_ONE};
static bitquilt_value initial = {.size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_INT};
static bitquilt_attribute attribute = {
    .size = sizeof(bitquilt_attribute), .name = "a", .kind = BITQUILT_VALUE_INT, .initial = &initial};
static const char *texts[] = {"q8_0", "q4_0"};
static int64_t integers[] = {1, 2, 3};
static double numbers[] = {1.0, 2.0};
static bitquilt_contraction contraction = {.size = sizeof(bitquilt_contraction)};
static const bitquilt_input *inputs[] = {&input};
static const bitquilt_attribute *attributes[] = {&attribute};
static bitquilt_op op = {
    .size = sizeof(bitquilt_op), .name = "faulty.copy", .input_count = 1, .inputs = inputs, .attribute_count = 1,
    .attributes = attributes, .output_count = 1, .infer = infer, .scratch = scratch, .run = run};
static const bitquilt_encoding *encodings[] = {&encoding};
static const bitquilt_op *ops[] = {&op};
static bitquilt_kernel kernel = {
    .size = sizeof(bitquilt_kernel), .name = "above", .op = "faulty.copy", .selector = BITQUILT_FOR_DENSE, .priority = 1,
    .supports = supports, .prepare = prepare, .scratch = scratch, .run = run, .destroy = destroy};
static const bitquilt_kernel *kernels[] = {&kernel};

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
    .version = "1.0.0", .encoding_count = 1, .encodings = encodings, .op_count = 1, .ops = ops,
    .kernel_count = KERNELS, .kernels = kernels};

/* The attribute as a list with an initial value. */
static void list(uint32_t kind, size_t count) {
    attribute.kind = initial.kind = kind;
    initial.count = count;
    initial.integers = integers;
    initial.numbers = numbers;
    initial.texts = texts;
}

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
    if (is("nothing")) plugin.encoding_count = plugin.op_count = plugin.kernel_count = 0;
    if (is("size of half a field")) plugin.size = offsetof(bitquilt_plugin, kernel_count) + 4;
    if (is("kernels null")) plugin.kernels = NULL;
    if (is("kernels misaligned")) plugin.kernels = (void *)((char *)kernels + 1);
    if (is("absurd kernels")) plugin.kernel_count = SIZE_MAX;
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
    if (is("no run")) op.run = NULL, op.scratch = NULL, plugin.kernel_count = 0;
    if (is("scratch without run")) op.run = NULL;
    if (is("effect is absurd")) op.effect = "two words";
    if (is("effect without end")) op.effect = LONGER;
    if (is("effect is empty")) op.effect = "";
    if (is("impure how")) op.impure = 2;
    if (is("split")) op.split = 4;
    if (is("split of nobody")) op.split = BITQUILT_SPLIT_ROWS, op.split_input = 1;
    if (is("split input without rows")) op.split_input = 1;
    if (is("contraction size")) op.contraction = &contraction, contraction.size = 4;
    if (is("contraction misaligned")) op.contraction = (void *)((char *)&contraction + 2);
    if (is("contraction of nobody")) op.contraction = &contraction, contraction.encoded = SIZE_MAX;
    if (is("contraction of one input")) op.contraction = &contraction;
    if (is("op size of half a field")) op.size = offsetof(bitquilt_op, effect) + 4;
    if (is("encodings of a dense input")) input.encodings = texts, input.encoding_count = 2;
    if (is("encodings of an input null")) input.kind = BITQUILT_INPUT_ENCODED, input.encoding_count = 2;
    if (is("absurd encodings of an input"))
        input.kind = BITQUILT_INPUT_ENCODED, input.encodings = texts, input.encoding_count = SIZE_MAX;
    if (is("encoding of an input null") || is("encoding of an input is absurd")) {
        input.kind = BITQUILT_INPUT_ENCODED, input.encodings = texts, input.encoding_count = 2;
        texts[1] = is("encoding of an input null") ? NULL : "q4 0\n";
    }
    if (is("optional how")) attribute.optional = 9;
    if (is("reserved in a value")) initial.reserved = 1;
    if (is("bool of 2")) attribute.kind = initial.kind = BITQUILT_VALUE_BOOL, initial.integer = 2;
    if (is("initial size of half a field")) initial.size = offsetof(bitquilt_value, count) + 1;
    if (is("ints null")) list(BITQUILT_VALUE_INTS, 2), initial.integers = NULL;
    if (is("ints misaligned")) list(BITQUILT_VALUE_INTS, 2), initial.integers = (void *)((char *)integers + 1);
    if (is("absurd ints")) list(BITQUILT_VALUE_INTS, SIZE_MAX);
    if (is("absurd floats")) list(BITQUILT_VALUE_FLOATS, 1025);
    if (is("floats null")) list(BITQUILT_VALUE_FLOATS, 2), initial.numbers = NULL;
    if (is("texts null")) list(BITQUILT_VALUE_TEXTS, 2), initial.texts = NULL;
    if (is("text of texts null")) list(BITQUILT_VALUE_TEXTS, 2), texts[1] = NULL;
    if (is("shape too long")) list(BITQUILT_VALUE_SHAPE, 9);
    if (is("shape with a negative number")) list(BITQUILT_VALUE_SHAPE, 3), integers[1] = -2;
    static bitquilt_input second;
    static const bitquilt_input *both[] = {&input, &second};
    if (is("input after one that may be left out") || is("states without outputs")) {
        second = input;
        second.name = "z";
        op.inputs = both, op.input_count = 2;
        if (is("states without outputs")) {
            input.kind = second.kind = BITQUILT_INPUT_STATE;
        } else {
            input.arity = BITQUILT_ARITY_OPTIONAL;
        }
    }
    if (is("kernel null")) kernels[0] = NULL;
    if (is("kernel size")) kernel.size = sizeof kernel - 8;
    if (is("kernel name null")) kernel.name = NULL;
    if (is("kernel name absurd")) kernel.name = "avx 512";
    if (is("kernel op null")) kernel.op = NULL;
    if (is("kernel op absurd")) kernel.op = "";
    if (is("kernel selector")) kernel.selector = 0;
    if (is("kernel encoding null")) kernel.op = "other", kernel.selector = BITQUILT_FOR_ENCODING;
    if (is("kernel encoding absurd")) kernel.op = "other", kernel.selector = BITQUILT_FOR_ENCODING, kernel.encoding = "\x1b[2J";
    if (is("kernel encoding for dense")) kernel.encoding = "q8_0";
    if (is("kernel for the encoding of a dense op")) kernel.selector = BITQUILT_FOR_ANY_ENCODING;
    if (is("dense kernel of an encoded op")) input.kind = BITQUILT_INPUT_ENCODED;
    if (is("kernel for an encoding that is not taken")) {
        input.kind = BITQUILT_INPUT_ENCODED, input.encodings = texts, input.encoding_count = 2;
        kernel.selector = BITQUILT_FOR_ENCODING, kernel.encoding = "q6_k";
    }
    if (is("kernel reserved")) kernel.reserved = 1;
    if (is("kernel space")) kernel.space = 1;
    if (is("kernel without run")) kernel.run = NULL;
    if (is("serves without prepare")) kernel.prepare = NULL, kernel.destroy = NULL, kernel.serves = serves;
    if (is("destroy without prepare")) kernel.prepare = NULL;
    if (is("priority of the op's own kernel")) kernel.priority = 0;
    if (is("layout without end")) encoding.layout = memset(malloc(1 << 16), 'n', 1 << 16);
    if (is("layout of no UTF-8")) encoding.layout = "na\xefve";
    if (is("wrong declaration")) {
        encoding.quantize = NULL, encoding.dequantize = NULL;
        encoding.layout = DECLARED("faulty.raw", "1");
    }
    if (is("declaration of another name")) {
        encoding.quantize = NULL, encoding.dequantize = NULL, encoding.layout = DECLARED("my.other", "6");
    }
    if (is("declaration of other blocks")) {
        encoding.quantize = NULL, encoding.dequantize = NULL, encoding.layout = DECLARED("faulty.raw", "6");
    }
    if (is("encoding size of half a field")) encoding.size = offsetof(bitquilt_encoding, layout) + 7;
    /* What an older header did not have is not read. */
    if (is("none, smaller")) {
        plugin.size = offsetof(bitquilt_plugin, kernel_count), plugin.kernel_count = SIZE_MAX;
        encoding.size = offsetof(bitquilt_encoding, layout), encoding.layout = (const char *)1;
        op.size = offsetof(bitquilt_op, effect), op.effect = (const char *)1, op.impure = 9, op.contraction = (void *)1;
        input.size = offsetof(bitquilt_input, encoding_count), input.encoding_count = SIZE_MAX;
        initial.size = offsetof(bitquilt_value, count), initial.count = SIZE_MAX;
    }
    if (is("serves with no status")) kernel.serves = serves;
    if (is("or_next without a next")) {
        kernel.serves = serves;
        op.run = NULL, op.scratch = NULL;
    }
    if (is("no outputs")) op.output_count = 0;
    if (is("absurd outputs")) op.output_count = 1u << 30;
    if (is("absurd inputs")) op.input_count = 17;
    if (is("input null")) inputs[0] = NULL;
    if (is("input kind")) input.kind = 0;
    if (is("input arity")) input.arity = 44;
    if (is("attribute kind")) attribute.kind = 9;
    if (is("initial value of another kind")) initial.kind = BITQUILT_VALUE_TEXT;
    if (is("initial text null")) attribute.kind = initial.kind = BITQUILT_VALUE_TEXT;
}
#endif
