/* A plugin with one of each thing that bitquilt.h has beside plain encodings and ops. It is C11, and C++20, too. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bitquilt.h"

/* The memory of the last kernel. */
#ifndef SPACE
#define SPACE 0
#endif

static int32_t like_input(bitquilt_type *output, const bitquilt_type *input) {
    output->dtype = input->dtype;
    output->rank = input->rank;
    memcpy(output->shape, input->shape, sizeof input->shape);
    return BITQUILT_OK;
}

static size_t count_of(const bitquilt_tensor *tensor) {
    return tensor->bytes / sizeof(float);
}

static int32_t infer_like_first(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user;
    if (node->inputs[0]->dtype != BITQUILT_F32) {
        return bitquilt_fail(error, BITQUILT_INVALID, "`x` is not f32");
    }
    return like_input(outputs[0], node->inputs[0]);
}

#define INPUT(variable, text, its_kind, its_arity)                                                                                \
    static const bitquilt_input variable = {.size = sizeof(bitquilt_input),                                                      \
                                            .name = text,                                                                        \
                                            .kind = its_kind,                                                                    \
                                            .arity = its_arity}
INPUT(x, "x", BITQUILT_INPUT_DENSE, BITQUILT_ARITY_ONE);
INPUT(bias, "bias", BITQUILT_INPUT_DENSE, BITQUILT_ARITY_OPTIONAL);
INPUT(gain, "gain", BITQUILT_INPUT_DENSE, BITQUILT_ARITY_OPTIONAL);
INPUT(sum, "sum", BITQUILT_INPUT_STATE, BITQUILT_ARITY_ONE);

/* ---- full.count(x): i64 [1], how many such nodes ran before; one of a group of effects ---- */

static int64_t counted = 0;

static int32_t count_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user, (void)node, (void)error;
    outputs[0]->dtype = BITQUILT_I64;
    outputs[0]->rank = 1;
    outputs[0]->shape[0] = 1;
    return BITQUILT_OK;
}

static int32_t count_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)error;
    int64_t *count = (int64_t *)user;
    *(int64_t *)run->outputs[0]->output = (*count)++;
    return BITQUILT_OK;
}

static const bitquilt_input *const only_x[] = {&x};
static const bitquilt_op count = {
    .size = sizeof(bitquilt_op), .name = "full.count", .input_count = 1, .inputs = only_x, .output_count = 1, .user = &counted,
    .infer = count_infer, .run = count_run, .effect = "full.counter"};

/* ---- full.weigh(x, [bias], [gain]; factors, places, names, shape, end): (x * sum of `factors` + bias) * gain, the attributes
 * beside ---- */

/* Output 1 has what was given: for each input its position or -1, then counts and values of the attributes. */
#define SEEN 12

static int32_t weigh_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    const int32_t status = infer_like_first(user, node, outputs, error);
    if (status != BITQUILT_OK) {
        return status;
    }
    const bitquilt_value *shape = bitquilt_find(node->attributes, node->attribute_count, "shape");
    if (shape != NULL && shape->count > 1 && shape->integers[1] != -1 && shape->integers[1] != node->inputs[0]->shape[0]) {
        return bitquilt_fail(error, BITQUILT_INVALID, "dimension 1 of `shape` is neither free nor that of `x`");
    }
    if (node->position(node, "bias") != node->positions[1] || node->position(node, "nothing") != BITQUILT_NONE) {
        return bitquilt_fail(error, BITQUILT_FAILED, "`bias` is found at two places");
    }
    outputs[1]->dtype = BITQUILT_F32;
    outputs[1]->rank = 1;
    outputs[1]->shape[0] = SEEN;
    return BITQUILT_OK;
}

static int32_t weigh_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user, (void)error;
    const bitquilt_value *factors = run->attributes[0], *places = run->attributes[1], *names = run->attributes[2];
    const bitquilt_value *shape = run->attributes[3], *end = run->attributes[4];
    float factor = 0.0f, bias = 0.0f, gain = 1.0f;
    for (size_t i = 0; i < factors->count; i++) {
        factor += (float)factors->numbers[i];
    }
    if (run->positions[1] != BITQUILT_NONE) {
        bias = *(const float *)run->inputs[run->positions[1]]->data;
    }
    if (run->positions[2] != BITQUILT_NONE) {
        gain = *(const float *)run->inputs[run->positions[2]]->data;
    }
    float *y = (float *)run->outputs[0]->output, *seen = (float *)run->outputs[1]->output;
    for (size_t i = 0; i < count_of(run->inputs[0]); i++) {
        y[i] = (((const float *)run->inputs[0]->data)[i] * factor + bias) * gain;
    }
    memset(seen, 0, SEEN * sizeof(float));
    for (size_t i = 0; i < run->position_count; i++) {
        seen[i] = run->positions[i] == BITQUILT_NONE ? -1.0f : (float)run->positions[i];
    }
    seen[3] = (float)places->count;
    seen[4] = places->count > 0 ? (float)places->integers[places->count - 1] : 0.0f;
    seen[5] = names->kind == BITQUILT_VALUE_NONE ? -1.0f : (float)names->count;
    seen[6] = names->count > 0 ? (float)strlen(names->texts[names->count - 1]) : 0.0f;
    seen[7] = (float)shape->count;
    seen[8] = shape->count > 0 ? (float)shape->integers[0] : 0.0f;
    seen[9] = end->kind == BITQUILT_VALUE_NONE ? -1.0f : (float)end->integer;
    seen[10] = (float)run->attribute_count;
    return BITQUILT_OK;
}

static const double ones[] = {1.0, 1.0};
static const bitquilt_value two = {.size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_FLOATS, .count = 2, .numbers = ones};
static const int64_t free_shape[] = {7, -1};
static const bitquilt_value shape_value = {
    .size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_SHAPE, .count = 2, .integers = free_shape};
static const bitquilt_value no_places = {.size = sizeof(bitquilt_value), .kind = BITQUILT_VALUE_INTS};
static const bitquilt_attribute factors = {
    .size = sizeof(bitquilt_attribute), .name = "factors", .kind = BITQUILT_VALUE_FLOATS, .initial = &two};
static const bitquilt_attribute places = {
    .size = sizeof(bitquilt_attribute), .name = "places", .kind = BITQUILT_VALUE_INTS, .initial = &no_places};
static const bitquilt_attribute names = {
    .size = sizeof(bitquilt_attribute), .name = "names", .kind = BITQUILT_VALUE_TEXTS, .optional = 1};
static const bitquilt_attribute shape = {
    .size = sizeof(bitquilt_attribute), .name = "shape", .kind = BITQUILT_VALUE_SHAPE, .initial = &shape_value};
static const bitquilt_attribute end = {
    .size = sizeof(bitquilt_attribute), .name = "end", .kind = BITQUILT_VALUE_INT, .optional = 1};
static const bitquilt_input *const weigh_inputs[] = {&x, &bias, &gain};
static const bitquilt_attribute *const weigh_attributes[] = {&factors, &places, &names, &shape, &end};
static const bitquilt_op weigh = {
    .size = sizeof(bitquilt_op), .name = "full.weigh", .input_count = 3, .inputs = weigh_inputs, .attribute_count = 5,
    .attributes = weigh_attributes, .output_count = 2, .infer = weigh_infer, .run = weigh_run};

/* ---- full.add_to(sum, x): the state `sum` with `x` added ---- */

static int32_t add_to_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user;
    const bitquilt_type *s = node->inputs[0], *added = node->inputs[1];
    if (s->dtype != BITQUILT_F32 || added->dtype != BITQUILT_F32 || s->rank != 1 || added->rank != 1
        || s->shape[0] != added->shape[0]) {
        return bitquilt_fail(error, BITQUILT_INVALID, "`sum` and `x` are two f32 vectors of one length");
    }
    outputs[0]->alias = BITQUILT_ALIAS(0);
    return like_input(outputs[0], s);
}

static int32_t add_to_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    const bitquilt_tensor *s = run->inputs[0];
    if (s->output != s->data || run->inputs[1]->output != NULL || run->outputs[0]->output != NULL) {
        return bitquilt_fail(error, BITQUILT_FAILED, "only the state is written");
    }
    for (size_t i = 0; i < count_of(s); i++) {
        ((float *)s->output)[i] += ((const float *)run->inputs[1]->data)[i];
    }
    return BITQUILT_OK;
}

static const bitquilt_input *const add_to_inputs[] = {&sum, &x};
static const bitquilt_op add_to = {
    .size = sizeof(bitquilt_op), .name = "full.add_to", .input_count = 2, .inputs = add_to_inputs, .output_count = 1,
    .infer = add_to_infer, .run = add_to_run};

/* ---- full.flat(x): the same memory as one dimension; nothing runs ---- */

static int32_t flat_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user, (void)error;
    int64_t values = 1;
    for (uint32_t i = 0; i < node->inputs[0]->rank; i++) {
        const int64_t dim = node->inputs[0]->shape[i];
        if (dim < 0 || dim > 65536 || values > 65536) {
            return bitquilt_fail(error, BITQUILT_UNSUPPORTED, "`x` has a dimension that is not known, or large");
        }
        values *= dim;
    }
    outputs[0]->dtype = node->inputs[0]->dtype;
    outputs[0]->rank = 1;
    outputs[0]->shape[0] = values;
    outputs[0]->alias = BITQUILT_ALIAS(0);
    return BITQUILT_OK;
}

static int32_t flat_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user, (void)run;
    return bitquilt_fail(error, BITQUILT_FAILED, "there is nothing to run");
}

static const bitquilt_op flat = {
    .size = sizeof(bitquilt_op), .name = "full.flat", .input_count = 1, .inputs = only_x, .output_count = 1, .infer = flat_infer,
    .run = flat_run};

/* ---- full.which(x): f32 like `x`; 0 from the op's own kernel, 1 from the one above it, which serves one row ---- */

static int32_t fill(const bitquilt_run *run, float value) {
    for (size_t i = 0; i < count_of(run->outputs[0]); i++) {
        ((float *)run->outputs[0]->output)[i] = value;
    }
    return BITQUILT_OK;
}

static int32_t which_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user, (void)error;
    return fill(run, 0.0f);
}

static const bitquilt_op which = {
    .size = sizeof(bitquilt_op), .name = "full.which", .input_count = 1, .inputs = only_x, .output_count = 1,
    .infer = infer_like_first, .run = which_run, .split = BITQUILT_SPLIT_ELEMENTWISE};

static int32_t one_row_prepare(void *user, const bitquilt_node *node, bitquilt_prepared *prepared, bitquilt_error *error) {
    (void)user, (void)error;
    prepared->or_next = node->next != NULL;
    prepared->note = "one row";
    return BITQUILT_OK;
}

static int32_t one_row_serves(void *user, const bitquilt_run *run) {
    (void)user;
    return run->inputs[0]->rank == 2 && run->inputs[0]->shape[0] == 1 ? BITQUILT_OK : BITQUILT_UNSUPPORTED;
}

static int32_t one_row_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user, (void)error;
    return fill(run, 1.0f);
}

static const bitquilt_kernel one_row = {
    .size = sizeof(bitquilt_kernel), .name = "one-row", .op = "full.which", .selector = BITQUILT_FOR_DENSE, .priority = 5,
    .prepare = one_row_prepare, .serves = one_row_serves, .run = one_row_run};

/* Above both, and never there. */
static int32_t never_supports(void *user, const bitquilt_node *node, bitquilt_error *reason) {
    (void)user;
    return bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "`%s` is not for me", node->op);
}

static const bitquilt_kernel never = {
    .size = sizeof(bitquilt_kernel), .name = "never", .op = "full.which", .selector = BITQUILT_FOR_DENSE, .priority = 6,
    .space = SPACE, .supports = never_supports, .run = one_row_run};

/* ---- full.sums(w as q8_0 or q4_0): the sums of the rows of a matrix. It has no kernel of its own. ---- */

static int32_t sums_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user;
    if (node->inputs[0]->rank != 2) {
        return bitquilt_fail(error, BITQUILT_INVALID, "`w` is no matrix");
    }
    outputs[0]->dtype = BITQUILT_F32;
    outputs[0]->rank = 1;
    outputs[0]->shape[0] = node->inputs[0]->shape[0];
    return BITQUILT_OK;
}

static const char *const sums_encodings[] = {"q8_0", "q4_0"};
static const bitquilt_input sums_w = {
    .size = sizeof(bitquilt_input), .name = "w", .kind = BITQUILT_INPUT_ENCODED, .arity = BITQUILT_ARITY_ONE, .encoding_count = 2,
    .encodings = sums_encodings};
static const bitquilt_input *const sums_inputs[] = {&sums_w};
static const bitquilt_op sums = {
    .size = sizeof(bitquilt_op), .name = "full.sums", .input_count = 1, .inputs = sums_inputs, .output_count = 1,
    .infer = sums_infer};

/* What is prepared: the sums, in memory that the host lends, and a note of one's own. */
typedef struct {
    float *sums;
    char note[64];
} Sums;

typedef struct {
    const bitquilt_node *node;
    float *values; /* room for a row for each worker */
    float *sums;
} Summing;

static int32_t sum_of_row(void *data, size_t row, size_t worker, bitquilt_error *error) {
    const Summing *summing = (const Summing *)data;
    const bitquilt_tensor *w = summing->node->constants[0];
    const size_t columns = w->shape[1], blocks = columns / w->block_len;
    float *values = summing->values + worker * columns;
    const uint8_t *row_blocks = (const uint8_t *)w->data + row * blocks * w->block_bytes;
    const int32_t status = summing->node->decode(summing->node, 0, row_blocks, blocks, values, error);
    if (status == BITQUILT_OK) {
        summing->sums[row] = 0.0f;
        for (size_t column = 0; column < columns; column++) {
            summing->sums[row] += values[column];
        }
    }
    return status;
}

static int32_t memory_in_task(void *data, size_t task, size_t worker, bitquilt_error *error) {
    const bitquilt_node *node = (const bitquilt_node *)data;
    void *memory = NULL;
    (void)task;
    return worker == 0 ? BITQUILT_OK : node->memory(node, 1, &memory, error) == BITQUILT_OK ? BITQUILT_FAILED : BITQUILT_OK;
}

static int32_t sums_supports(void *user, const bitquilt_node *node, bitquilt_error *reason) {
    (void)user;
    void *memory = NULL;
    if (node->constants != NULL || node->memory(node, 1, &memory, reason) == BITQUILT_OK) {
        return bitquilt_fail(reason, BITQUILT_FAILED, "there is something to prepare with already");
    }
    return node->inputs[0]->constant && node->output_count == 1
               ? BITQUILT_OK
               : bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "`w` is no constant");
}

static int32_t sums_prepare(void *user, const bitquilt_node *node, bitquilt_prepared *prepared, bitquilt_error *error) {
    (void)user;
    const bitquilt_tensor *w = node->constants[0];
    void *memory = NULL;
    int32_t status = node->memory(node, w->shape[0] * sizeof(float), &memory, error);
    if (status == BITQUILT_OK) {
        status = node->par_for(node, 8, memory_in_task, (void *)node, error);
    }
    if (status != BITQUILT_OK) {
        return status;
    }
    Sums *made = (Sums *)calloc(1, sizeof(Sums));
    float *values = (float *)calloc(node->workers * w->shape[1] + 1, sizeof(float));
    if (made == NULL || values == NULL) {
        free(made);
        free(values);
        return bitquilt_fail(error, BITQUILT_FAILED, "there is no memory");
    }
    Summing summing = {node, values, (float *)memory};
    status = node->par_for(node, w->shape[0], sum_of_row, &summing, error);
    free(values);
    if (status != BITQUILT_OK) {
        free(made);
        return status;
    }
    const char *isa = node->option(node, "isa");
    snprintf(made->note, sizeof made->note, "sums of %zu rows, isa %s", w->shape[0], isa == NULL ? "none" : isa);
    made->sums = (float *)memory;
    prepared->data = made;
    prepared->note = made->note;
    prepared->releases[0] = 1;
    return BITQUILT_OK;
}

static void sums_scratch(void *user, const bitquilt_run *run, bitquilt_scratch *scratch) {
    (void)user;
    scratch->shared = ((const Sums *)run->prepared)->note[0] == 's' ? run->inputs[0]->shape[0] * sizeof(float) : 0;
}

static int32_t sums_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    const Sums *made = (const Sums *)run->prepared;
    if (run->inputs[0]->data != NULL || run->inputs[0]->rank != 2 || run->shared_bytes != run->outputs[0]->bytes) {
        return bitquilt_fail(error, BITQUILT_FAILED, "`w` was released");
    }
    memcpy(run->shared, made->sums, run->shared_bytes);
    memcpy(run->outputs[0]->output, run->shared, run->shared_bytes);
    return BITQUILT_OK;
}

static int64_t destroyed = 0;

static void sums_destroy(void *user, void *prepared) {
    ++*(int64_t *)user;
    free(prepared);
}

static const bitquilt_kernel sums_kernel = {
    .size = sizeof(bitquilt_kernel), .name = "sums", .op = "full.sums", .selector = BITQUILT_FOR_ENCODING, .encoding = "q8_0",
    .user = &destroyed, .supports = sums_supports, .prepare = sums_prepare, .scratch = sums_scratch, .run = sums_run,
    .destroy = sums_destroy};

/* ---- full.destroyed(x): i64 [1], how many of them were destroyed ---- */

static int32_t destroyed_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)error;
    memcpy(run->outputs[0]->output, user, sizeof(int64_t));
    return BITQUILT_OK;
}

static const bitquilt_op destroyed_op = {
    .size = sizeof(bitquilt_op), .name = "full.destroyed", .input_count = 1, .inputs = only_x, .output_count = 1,
    .user = &destroyed, .infer = count_infer, .run = destroyed_run, .impure = 1};

/* ---- full.dot(x, w): f32 [rows of w], a vector times an encoded matrix ---- */

static int32_t dot_infer(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    (void)user;
    const bitquilt_type *v = node->inputs[0], *m = node->inputs[1];
    if (v->dtype != BITQUILT_F32 || v->rank != 1 || m->rank != 2 || v->shape[0] != m->shape[1]) {
        return bitquilt_fail(error, BITQUILT_INVALID, "`x` is a vector, and `w` a matrix of rows as long");
    }
    outputs[0]->dtype = BITQUILT_F32;
    outputs[0]->rank = 1;
    outputs[0]->shape[0] = m->shape[0];
    return BITQUILT_OK;
}

static void dot_scratch(void *user, const bitquilt_run *run, bitquilt_scratch *scratch) {
    (void)user;
    scratch->shared = run->inputs[1]->shape[1] * sizeof(float);
}

static int32_t dot_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    const bitquilt_tensor *m = run->inputs[1];
    const float *v = (const float *)run->inputs[0]->data;
    float *row_values = (float *)(void *)run->shared, *y = (float *)run->outputs[0]->output;
    const size_t columns = m->shape[1], blocks = columns / m->block_len;
    for (size_t row = 0; row < m->shape[0]; row++) {
        const uint8_t *row_blocks = (const uint8_t *)m->data + row * blocks * m->block_bytes;
        const int32_t status = run->decode(run, 1, row_blocks, blocks, row_values, error);
        if (status != BITQUILT_OK) {
            return status;
        }
        y[row] = 0.0f;
        for (size_t column = 0; column < columns; column++) {
            y[row] += v[column] * row_values[column];
        }
    }
    return BITQUILT_OK;
}

INPUT(dot_w, "w", BITQUILT_INPUT_ENCODED, BITQUILT_ARITY_ONE);
static const bitquilt_input *const dot_inputs[] = {&x, &dot_w};
static const bitquilt_contraction dot_contraction = {.size = sizeof(bitquilt_contraction), .dense = 0, .encoded = 1};
static const bitquilt_op dot = {
    .size = sizeof(bitquilt_op), .name = "full.dot", .input_count = 2, .inputs = dot_inputs, .output_count = 1,
    .infer = dot_infer, .scratch = dot_scratch, .run = dot_run, .split = BITQUILT_SPLIT_ROWS, .split_input = 1,
    .contraction = &dot_contraction};

/* ---- full.raw: f32 as it is, with a layout ---- */

static int32_t raw_quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                            bitquilt_error *error) {
    (void)user, (void)importance, (void)error;
    memcpy(dst, values, rows * row_len * sizeof(float));
    return BITQUILT_OK;
}

static int32_t raw_dequantize(void *user, const uint8_t *blocks, size_t count_of_blocks, float *dst, bitquilt_error *error) {
    (void)user, (void)error;
    memcpy(dst, blocks, count_of_blocks * 16);
    return BITQUILT_OK;
}

static const bitquilt_encoding raw = {
    .size = sizeof(bitquilt_encoding), .name = "full.raw", .version = 1, .block_len = 4, .block_bytes = 16,
    .quantize = raw_quantize, .dequantize = raw_dequantize, .layout = "values: f32[4]"};

/* ---- Kernels of two ops that bitquilt has: of a state, and with attributes by name ---- */

static int32_t append_supports(void *user, const bitquilt_node *node, bitquilt_error *reason) {
    (void)user;
    const bool fits = node->inputs[0]->dtype == BITQUILT_F32 && node->inputs[1]->dtype == BITQUILT_F32
                      && node->inputs[2]->dtype == BITQUILT_I64 && node->inputs[2]->rank == 1 && node->positions == NULL
                      && node->position(node, "rows") == 1;
    return fits ? BITQUILT_OK : bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "f32 rows at i64 positions are expected");
}

static int32_t append_run(void *user, const bitquilt_run *run, bitquilt_error *error) {
    (void)user;
    const bitquilt_tensor *cache = run->inputs[0], *rows = run->inputs[1];
    const int64_t *positions = (const int64_t *)run->inputs[2]->data;
    const size_t row_bytes = cache->shape[0] == 0 ? 0 : cache->bytes / cache->shape[0];
    for (size_t row = 0; row < rows->shape[0]; row++) {
        if (positions[row] < 0 || (size_t)positions[row] >= cache->shape[0]) {
            return bitquilt_fail(error, BITQUILT_INVALID, "there is no row %lld", (long long)positions[row]);
        }
        memcpy((uint8_t *)cache->output + (size_t)positions[row] * row_bytes, (const uint8_t *)rows->data + row * row_bytes,
               row_bytes);
    }
    return BITQUILT_OK;
}

static const bitquilt_kernel append_kernel = {
    .size = sizeof(bitquilt_kernel), .name = "full-append", .op = "append", .selector = BITQUILT_FOR_DENSE, .priority = 1000,
    .supports = append_supports, .run = append_run};

static int32_t softmax_supports(void *user, const bitquilt_node *node, bitquilt_error *reason) {
    (void)user;
    const bitquilt_value *axis = bitquilt_find(node->attributes, node->attribute_count, "axis");
    return axis == NULL ? bitquilt_fail(reason, BITQUILT_FAILED, "there is no `axis`")
                        : bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "%zu attributes, axis %lld", node->attribute_count,
                                        (long long)axis->integer);
}

static const bitquilt_kernel softmax_kernel = {
    .size = sizeof(bitquilt_kernel), .name = "full-softmax", .op = "softmax", .selector = BITQUILT_FOR_DENSE, .priority = 1000,
    .supports = softmax_supports, .run = which_run};

/* ---- The plugin ---- */

static const bitquilt_op *const ops[] = {&count, &weigh, &add_to, &flat, &which, &sums, &destroyed_op, &dot};
static const bitquilt_encoding *const encodings[] = {&raw};
static const bitquilt_kernel *const kernels[] = {&one_row, &never, &sums_kernel, &append_kernel, &softmax_kernel};

BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = "full", .version = "1.0.0",
    .encoding_count = 1, .encodings = encodings, .op_count = sizeof ops / sizeof *ops, .ops = ops,
    .kernel_count = sizeof kernels / sizeof *kernels, .kernels = kernels};
