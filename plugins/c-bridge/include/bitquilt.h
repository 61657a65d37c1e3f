/*
 * bitquilt.h: quantization encodings, ops and kernels for bitquilt, written in C or C++.
 *
 * A plugin is a shared library that exports one constant, `bitquilt_c_plugin`, which describes what it has:
 *
 *     BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
 *         .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin),
 *         .name = "acme-c", .version = "1.0.0",
 *         .encoding_count = 1, .encodings = encodings,
 *     };
 *
 *     cc -std=c11 -O2 -fPIC -shared -I DIRECTORY_OF_THIS_FILE acme.c -o libacme.so
 *
 * Put the library into a plugin directory (`bitquilt plugin paths`). `bitquilt plugin check libacme.so` tests it.
 *
 * It is for C11 and C++11 and their successors. In C++, give `bitquilt_c_plugin` a constant initializer, since the host reads the
 * beginning of it in the file, and end each function that may throw with a `catch` that makes a status of what was caught.
 *
 * Rules that hold for all of it:
 *
 * - Every struct begins with (or, for `bitquilt_plugin`, has) its `size`: set it to sizeof of the struct. Later versions of
 *   this header add fields at the end alone; fields that a smaller struct of an older one does not have count as zero, which means
 *   everywhere that nothing is asked for. Arrays of structs are arrays of pointers. Set what you do not use to zero, as a designated
 *   initializer does.
 * - What you export must stay valid and unchanged until the process ends. The host reads it once, when it loads the library, and
 *   refuses the whole library, with a sentence that names the field, if something in it makes no sense.
 * - What the host hands to a function is valid until that function returns. Keep no pointer of it, unless it is said that you may.
 * - Each function says where it is called. [load-thread]: on the thread that builds or loads a graph; graphs may be loaded by several
 *   at once. [any-thread]: on any thread, and on several at once. It is given `user`, which is yours; what that points to must be safe
 *   to use so. Start no threads: take the host's, with `par_for`.
 * - Functions and tasks begin in the default floating-point environment. One that changes it (rounding, flush to zero, traps) puts
 *   back what it found before it returns or calls the host. Do not link with -ffast-math: that adds a constructor which changes it.
 * - A function returns BITQUILT_OK, or another status and a text in `error`. No C++ exception and no longjmp may leave it.
 * - Each side frees what it allocates: the host what it hands out, you what `prepare` makes, in `destroy`.
 * - Texts are UTF-8, end with a zero, and have less than 1024 bytes. Names have 1 to 64 of a-z A-Z 0-9 _ - . and begin with a letter.
 *   Those of encodings and ops are shared by all plugins: put a namespace before them, as in "acme.int4".
 *
 * A segfault in a plugin ends the host. Plugins are trusted code.
 */
#ifndef BITQUILT_H
#define BITQUILT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header's contract. A host takes plugins of the same version. */
#define BITQUILT_C_API 1u

/* "bitquilt", to tell a plugin's description from anything else of its name. */
#define BITQUILT_MAGIC UINT64_C(0x746c697571746962)

#if defined(_WIN32)
#define BITQUILT_EXPORT_SYMBOL __declspec(dllexport)
#else
#define BITQUILT_EXPORT_SYMBOL __attribute__((visibility("default")))
#endif
#ifdef __cplusplus
#define BITQUILT_EXPORT extern "C" BITQUILT_EXPORT_SYMBOL
#else
#define BITQUILT_EXPORT BITQUILT_EXPORT_SYMBOL
#endif

/* Dimensions of a tensor, at most. */
#define BITQUILT_MAX_RANK 8
/* Inputs, outputs and attributes of an op, at most. A kernel is not offered nodes of another plugin's op that have more. */
#define BITQUILT_MAX_INPUTS 16
#define BITQUILT_MAX_OUTPUTS 8
#define BITQUILT_MAX_ATTRIBUTES 16
/* The index of an input that a node was not given. */
#define BITQUILT_NONE SIZE_MAX

/* ---- Status and errors ---- */

/* What a function returns. */
enum {
    BITQUILT_OK = 0,
    BITQUILT_INVALID = 1,     /* an argument, type or shape is wrong: the caller can mend it */
    BITQUILT_UNSUPPORTED = 2, /* the request makes sense but is not supported */
    BITQUILT_FAILED = 3       /* the work was begun and could not be finished */
};

/* Room for a text that says what was wrong, what was expected, and what to do. It belongs to the caller. */
typedef struct bitquilt_error {
    size_t size;
    size_t capacity; /* bytes at `text`, the zero at its end included; at least 1 */
    char *text;      /* "" when the function is called */
} bitquilt_error;

/* Writes the text, as printf does and cut to the room there is, and returns `status`:
 *
 *     return bitquilt_fail(error, BITQUILT_INVALID, "row %zu of %zu", row, rows);
 */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline int32_t bitquilt_fail(bitquilt_error *error, int32_t status, const char *format, ...) {
    if (error != NULL && error->text != NULL && error->capacity > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->text, error->capacity, format, arguments);
        va_end(arguments);
    }
    return status;
}

/* ---- Encodings ---- */

/* What an encoding does with importance: a weight for each column of a row, larger where errors cost more. */
enum {
    BITQUILT_IMPORTANCE_IGNORED = 0,
    BITQUILT_IMPORTANCE_OPTIONAL = 1,
    BITQUILT_IMPORTANCE_REQUIRED = 2
};

/* A way to store f32 values as blocks of bytes. A row is cut into blocks of `block_len` values, each `block_bytes` bytes. */
typedef struct bitquilt_encoding {
    size_t size;
    const char *name;
    const char *summary; /* one line for listings, or NULL */
    uint32_t version;    /* of the byte format; checkpoints record it */
    uint32_t importance; /* BITQUILT_IMPORTANCE_... */
    size_t block_len;    /* 1 to 2^20 */
    size_t block_bytes;  /* 1 to 2^20 */
    void *user;

    /* Encodes `rows` rows of `row_len` values each. The values are finite, and a row is a whole number of blocks. `importance`
     * has `row_len` weights, or is NULL. `dst` has exactly the bytes of the rows' blocks, in order; write all of them. The same
     * values give the same bytes on every machine, whatever rows are beside them. `values` and `importance` are aligned for f32,
     * `dst` is not aligned. [any-thread] */
    int32_t (*quantize)(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error);

    /* Decodes `count` blocks. They may hold anything: decode what no encoder writes to some values, or refuse it.
     * `dst` has `count * block_len` values, aligned for f32; write all of them. `blocks` is not aligned. [any-thread] */
    int32_t (*dequantize)(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error);

    /* The layout of a block, where it is made of declared fields, or NULL: the text of a NAME.encoding.toml, as FORMAT.md of
     * the crate bitquilt-declared defines it, of up to 65535 bytes. A host with kernels for declared encodings multiplies with
     * the weights by them, so the layout has to decode to what `dequantize` gives. Where `quantize` and `dequantize` are NULL the
     * layout is all there is, and the host does both; `version`, `block_len` and `block_bytes` may then be 0. */
    const char *layout;

    /* Unpacks `count` blocks, in order, into what the host's kernels multiply with; or NULL. It is for an encoding that no layout
     * describes: where there is a layout that the host can read, that is what it goes by. A block is cut into groups of `group_len`
     * values, and a value is
     *
     *     (code - code_offset) * scale + minimum
     *
     * with the scale and the minimum of its group. `codes` has room for a code of each value, `count * block_len` bytes, each from 0
     * to 2^code_bits - 1; `scales` for a scale of each group, `count * block_len / group_len` floats, and `minima` for as many minima.
     * Scales and minima are finite. Write all of what there is room for. Where `has_minima` is 0, `minima` is NULL, and none is added.
     *
     *     for (size_t i = 0; i < 32; i++) codes[i] = block[4 + i / 2] >> i % 2 * 4 & 15;
     *     scales[0] = pow2_of(block[0]);
     *
     * Called for a row or more of a weight, when that is prepared and not when it is multiplied, so that it may take its time. It has
     * to say the same values as `dequantize`, to within a few roundings: the host compares blocks of each row, and refuses a weight of
     * which they differ. `blocks` may hold anything, as for `dequantize`. `scales` and `minima` are aligned for f32. [any-thread] */
    int32_t (*unpack)(void *user, const uint8_t *blocks, size_t count, uint8_t *codes, float *scales, float *minima,
                      bitquilt_error *error);
    /* What `unpack` gives; all 0 where it is NULL. `block_len` is then a multiple of 32. */
    size_t group_len;     /* values of a group: a multiple of 16 that divides `block_len` */
    uint32_t code_bits;   /* 1 to 8; weights are prepared in so many bits, or a few more */
    uint32_t code_offset; /* what is taken from each code: a code itself, such as 8 for 4 bits around 0 */
    uint32_t has_minima;  /* 1 if groups have minima */
    uint32_t reserved;
} bitquilt_encoding;

/* ---- Ops: what they take ---- */

/* The dtype of a tensor's values. */
enum {
    BITQUILT_ENCODED = 0, /* none: blocks of an encoding */
    BITQUILT_F32 = 1,
    BITQUILT_F64 = 2,
    BITQUILT_F16 = 3,
    BITQUILT_BF16 = 4,
    BITQUILT_I8 = 5,
    BITQUILT_I16 = 6,
    BITQUILT_I32 = 7,
    BITQUILT_I64 = 8,
    BITQUILT_U8 = 9,
    BITQUILT_U16 = 10,
    BITQUILT_U32 = 11,
    BITQUILT_U64 = 12,
    BITQUILT_BOOL = 13,    /* a byte that is 0 or 1 */
    BITQUILT_F8_E4M3 = 14, /* 8-bit float: 4 bits of exponent, 3 of fraction, no infinities (OCP) */
    BITQUILT_F8_E5M2 = 15  /* 8-bit float: 5 bits of exponent, 2 of fraction (OCP) */
};

/* What an input is. */
enum {
    BITQUILT_INPUT_DENSE = 1,   /* values of a dtype */
    BITQUILT_INPUT_ENCODED = 2, /* blocks of an encoding */
    BITQUILT_INPUT_STATE = 3    /* values that outlive a run, which the op may write; one output must alias it: its next version */
};

/* How many tensors an input stands for. */
enum {
    BITQUILT_ARITY_ONE = 1,
    BITQUILT_ARITY_OPTIONAL = 2, /* one or none; all that follow are such, too, and a node gives each by its name or its place */
    BITQUILT_ARITY_MANY = 3      /* one or more; the last input alone */
};

/* One input of an op. The first that is one encoded tensor selects the kernel. */
typedef struct bitquilt_input {
    size_t size;
    const char *name;
    uint32_t kind;  /* BITQUILT_INPUT_... */
    uint32_t arity; /* BITQUILT_ARITY_... */
    size_t encoding_count;
    const char *const *encodings; /* the encodings that an encoded input takes, 64 at most; NULL for all */
} bitquilt_input;

/* The kind of an attribute's value. */
enum {
    BITQUILT_VALUE_NONE = 0, /* a node was not given the attribute, and it has no initial value */
    BITQUILT_VALUE_INT = 1,
    BITQUILT_VALUE_FLOAT = 2,
    BITQUILT_VALUE_BOOL = 3, /* in `integer`: 0 or 1 */
    BITQUILT_VALUE_TEXT = 4,
    BITQUILT_VALUE_INTS = 5,
    BITQUILT_VALUE_SHAPE = 6, /* in `integers`: numbers as in `bitquilt_type.shape` */
    BITQUILT_VALUE_FLOATS = 7,
    BITQUILT_VALUE_TEXTS = 8
};

/* A value of an attribute: the field of its kind is set. */
typedef struct bitquilt_value {
    size_t size;
    uint32_t kind; /* BITQUILT_VALUE_... */
    uint32_t reserved;
    int64_t integer;
    double number;
    const char *text;
    size_t count; /* of a list or a shape; an initial value has up to 1024, a shape up to BITQUILT_MAX_RANK */
    const int64_t *integers;
    const double *numbers;
    const char *const *texts;
    const char *name; /* the attribute's; not read in initial values */
} bitquilt_value;

/* A named parameter of an op. */
typedef struct bitquilt_attribute {
    size_t size;
    const char *name;
    uint32_t kind;     /* BITQUILT_VALUE_... */
    uint32_t optional; /* 1 if it may be left out without an initial value: a node then has BITQUILT_VALUE_NONE there */
    const bitquilt_value *initial; /* its value where none is given, of its kind; NULL if it has none */
} bitquilt_attribute;

/* The value of the attribute of this name, or NULL if there is none:
 *
 *     const bitquilt_value *end = bitquilt_find(run->attributes, run->attribute_count, "end");
 */
static inline const bitquilt_value *bitquilt_find(const bitquilt_value *const *attributes, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (attributes[i]->kind != BITQUILT_VALUE_NONE && strcmp(attributes[i]->name, name) == 0) {
            return attributes[i];
        }
    }
    return NULL;
}

/* ---- Ops: types in, types out ---- */

/* `alias` of an output that is the memory of input `input`. */
#define BITQUILT_ALIAS(input) ((size_t)(input) + 1)

/* The type of a tensor: what it is made of, and its logical shape, outermost dimension first. */
typedef struct bitquilt_type {
    size_t size;
    uint32_t dtype; /* BITQUILT_F32 ..., or BITQUILT_ENCODED */
    uint32_t rank;  /* dimensions in `shape` */
    /* A dimension that is not known until a run is a negative number; the same number is the same dimension. Such numbers may be
     * compared and copied into outputs. -1 is none of an input: in an attribute, it is the dimension that follows from the others.
     * Shapes of encoded tensors count values, not bytes, and are always known. */
    int64_t shape[BITQUILT_MAX_RANK];
    const char *encoding; /* name of an encoded tensor's encoding, else NULL */
    size_t block_len;     /* of that encoding, else 0; not read in outputs */
    size_t block_bytes;
    /* Of an output: 0 if it has memory of its own; BITQUILT_ALIAS(i) if it is the memory of input i, a state's next version or the
     * same values in another shape. If all outputs alias inputs that are no states, and the op has no effect, no kernel is run. */
    size_t alias;
    uint32_t constant; /* 1 for an input that is the same for every run; not read in outputs */
    uint32_t reserved;
} bitquilt_type;

/* A tensor. Contiguous, row-major. Outputs and states are aligned to 64 bytes, inputs for their dtype; blocks are not aligned. */
typedef struct bitquilt_tensor {
    size_t size;
    uint32_t dtype;
    uint32_t rank;
    const size_t *shape;
    const char *encoding; /* as in bitquilt_type */
    size_t block_len;
    size_t block_bytes;
    size_t bytes;
    const void *data;
    /* Where an output or a state is written, the same as `data`; NULL for other inputs. While a node runs, an output that
     * aliases an input has no `shape` (and `rank` 0), `bytes` or `data` of its own: it is read and written as that input. */
    void *output;
} bitquilt_tensor;

/* A task of a parallel region. `worker` is below `workers`; tasks of one worker run one after the other. [any-thread] */
typedef int32_t (*bitquilt_task)(void *data, size_t task, size_t worker, bitquilt_error *error);

typedef struct bitquilt_node bitquilt_node;

/* A node of a graph, while it is built or loaded. Its functions are called on the thread to which it was handed; where it is said,
 * tasks may call them, too. */
struct bitquilt_node {
    size_t size;
    const void *host; /* the host's own */
    const char *op;   /* its name */
    size_t input_count;
    const bitquilt_type *const *inputs;
    size_t output_count; /* 0 for `infer` */
    const bitquilt_type *const *outputs;
    /* If the op is this plugin's, its attributes in the order of its description. If not, those that the node has, by name. */
    size_t attribute_count;
    const bitquilt_value *const *attributes;
    /* If the op is this plugin's, where in `inputs` each input of its description stands: the first tensor of it, or BITQUILT_NONE.
     * If not, none; `position` finds them by name. */
    size_t position_count;
    const size_t *positions;

    /* Where in `inputs` the input of this name stands, or BITQUILT_NONE if the node was not given it. */
    size_t (*position)(const bitquilt_node *node, const char *input);

    /* A setting of the session, such as "isa", or NULL where it was not set. The text is valid until your function returns. */
    const char *(*option)(const bitquilt_node *node, const char *name);

    /* From here on for `prepare` alone. Elsewhere these are NULL or 0, and the functions answer BITQUILT_INVALID. */

    /* For each input, its tensor if it is a constant, else NULL. */
    const bitquilt_tensor *const *constants;
    /* The name of the kernel that would run the node if this one did not, or NULL if there is none. */
    const char *next;
    size_t workers;

    /* As `par_for` of a run. Tasks may call it. */
    int32_t (*par_for)(const bitquilt_node *node, size_t tasks, bitquilt_task task, void *data, bitquilt_error *error);

    /* As `decode` of a run. Tasks may call it. */
    int32_t (*decode)(const bitquilt_node *node, size_t input, const uint8_t *blocks, size_t count, float *dst,
                      bitquilt_error *error);

    /* Lends `bytes` of zeroed memory, aligned to 64, on large pages where the host has them, for what the kernel keeps, and
     * writes its address to `memory`. It stays valid until `destroy` has returned; the host frees it, and counts it in
     * `explain`. */
    int32_t (*memory)(const bitquilt_node *node, size_t bytes, void **memory, bitquilt_error *error);
};

/* ---- Ops: a run ---- */

typedef struct bitquilt_run bitquilt_run;

/* One run of a node: its tensors, memory and threads. */
struct bitquilt_run {
    size_t size;
    const void *host; /* the host's own */
    size_t input_count;
    const bitquilt_tensor *const *inputs;
    size_t output_count;
    const bitquilt_tensor *const *outputs;
    size_t attribute_count;
    const bitquilt_value *const *attributes; /* as in bitquilt_node */
    size_t workers;

    /* Memory that `scratch` asked for, aligned to 64 bytes. It holds anything. */
    uint8_t *shared;
    size_t shared_bytes;
    uint8_t *per_worker; /* worker w's is at per_worker + w * worker_stride */
    size_t worker_bytes;
    size_t worker_stride;

    /* Calls `task(data, i, worker, error)` for each i below `tasks`, in any order, on the host's threads and this one, and
     * returns when all have returned. Of the statuses other than BITQUILT_OK, that of the lowest task is returned, with its
     * text; tasks after it that were not begun are left out. To be called on the thread that `run` was called on, or from a
     * task, which then runs the new tasks itself. */
    int32_t (*par_for)(const bitquilt_run *run, size_t tasks, bitquilt_task task, void *data, bitquilt_error *error);

    /* Decodes `count` blocks of the encoded input `input`, whatever its encoding: `dst` has `count * block_len` values, aligned for
     * f32. Tasks may call it. */
    int32_t (*decode)(const bitquilt_run *run, size_t input, const uint8_t *blocks, size_t count, float *dst,
                      bitquilt_error *error);

    size_t position_count; /* as in bitquilt_node */
    const size_t *positions;
    void *prepared; /* what `prepare` made; NULL for the run of an op's own */
};

/* Bytes of memory that a run needs besides its outputs. */
typedef struct bitquilt_scratch {
    size_t size;
    size_t shared;     /* for the run */
    size_t per_worker; /* for each worker */
} bitquilt_scratch;

/* ---- Ops ---- */

/* Two inputs of which one's values are multiplied with the other's columns, and summed: the product of an activation [.., n] and
 * a weight [.., p, n]. The importance of the weight's columns is recorded at the activation. */
typedef struct bitquilt_contraction {
    size_t size;
    size_t dense;   /* index of the activation, one dense input */
    size_t encoded; /* index of the weight, one encoded input, or another dense one */
} bitquilt_contraction;

/* How a node may be divided, so that each rank computes a part of the outputs from a part of the inputs. */
enum {
    BITQUILT_SPLIT_NO = 0,
    BITQUILT_SPLIT_ELEMENTWISE = 1, /* each element of an output depends on the inputs' elements at its place alone */
    BITQUILT_SPLIT_ROWS = 2,        /* the rows of input `split_input` make the last dimension of the outputs */
    BITQUILT_SPLIT_HEADS = 3        /* by the last dimension but one of each input and output, which counts heads */
};

/* An op. Its own kernel, if it has one, serves every encoding of its inputs; `decode` reads them all. */
typedef struct bitquilt_op {
    size_t size;
    const char *name;
    const char *summary; /* one line for listings, or NULL */
    size_t input_count;
    const bitquilt_input *const *inputs;
    size_t attribute_count;
    const bitquilt_attribute *const *attributes;
    size_t output_count; /* 1 to BITQUILT_MAX_OUTPUTS */
    void *user;

    /* Writes the types of the outputs (`dtype`, `rank` and `shape` of each, and `encoding` and `alias` where it has one), or
     * says what is wrong with the inputs and what was expected. The inputs fit the op's description; their dtypes, ranks and
     * shapes are to be checked. The same inputs give the same answer each time. An `encoding` is read when this has returned: let it
     * be a text of yours that stays, or one of the node's. [any-thread] */
    int32_t (*infer)(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error);

    /* Says what memory a run needs, by the shapes of its tensors; `data`, `output` and the run's memory are not there yet, and
     * neither function may be called. NULL if it needs none. `scratch` is zero when this is called. [any-thread] */
    void (*scratch)(void *user, const bitquilt_run *run, bitquilt_scratch *scratch);

    /* Computes the outputs; write all of each. Allocate nothing: take memory from `scratch`. NULL if kernels of this plugin run
     * the op. [any-thread] */
    int32_t (*run)(void *user, const bitquilt_run *run, bitquilt_error *error);

    /* The name of a group if the op does something besides computing its outputs, such as printing; else NULL. Its nodes are
     * never left out, nor computed when a graph is loaded. Those of one group run in the order in which they were added to the
     * graph, and one run of a process at a time has those of a group. An op whose effect is all that is wanted yields a token:
     * U8 of shape [0]. */
    const char *effect;
    uint32_t impure;    /* 1 if the same inputs need not give the same outputs; an op with an effect is such anyway */
    uint32_t split;     /* BITQUILT_SPLIT_... */
    size_t split_input; /* index of the input of BITQUILT_SPLIT_ROWS, else 0 */
    const bitquilt_contraction *contraction; /* or NULL */
} bitquilt_op;

/* ---- Kernels ---- */

/* Which nodes of its op a kernel is for. */
enum {
    BITQUILT_FOR_DENSE = 1,       /* the op has no encoded input that selects its kernel */
    BITQUILT_FOR_ENCODING = 2,    /* that input has the encoding of this name, which may be another plugin's */
    BITQUILT_FOR_ANY_ENCODING = 3 /* that input has any encoding */
};

/* What `prepare` makes. All but `size` is zero when it is called. */
typedef struct bitquilt_prepared {
    size_t size;
    void *data;       /* yours; `bitquilt_run.prepared` hands it back */
    const char *note; /* one line for `explain`, or NULL; read when `prepare` has returned: it may stand in `data` */
    uint32_t or_next; /* 1 if the next kernel is prepared, too, for the shapes that this one does not serve; only if there is one */
    uint32_t reserved;
    /* 1 for each constant input whose bytes the kernel does not read when it runs: they are dropped once no node reads them, and
     * the tensor of a run has its shape, but no `data` */
    uint8_t releases[BITQUILT_MAX_INPUTS];
} bitquilt_prepared;

/* A way to run an op, this plugin's or another's. Of those that support a node, one for its encoding goes before one for any,
 * and then the higher priority goes first; `next` is the one after it. For one op and choice of nodes, there is one kernel of
 * each priority. */
typedef struct bitquilt_kernel {
    size_t size;
    const char *name; /* in `explain` */
    const char *op;
    uint32_t selector;    /* BITQUILT_FOR_... */
    int32_t priority;     /* 0 is that of the kernel that an op has of its own */
    const char *encoding; /* of BITQUILT_FOR_ENCODING, else NULL */
    uint32_t space;       /* the memory that it reads and writes: 0, the host's own; a host refuses one that it does not have */
    uint32_t reserved;
    void *user;

    /* Answers BITQUILT_OK if it can run this node on this machine, else BITQUILT_UNSUPPORTED and in `reason` why not, which
     * `explain` shows. NULL if it can run all. [load-thread] */
    int32_t (*supports)(void *user, const bitquilt_node *node, bitquilt_error *reason);

    /* Makes what the runs of a node need, from the bytes of its constants for instance. Called once for nodes that agree in all
     * that it is shown. If it does not return BITQUILT_OK, it has freed what it made. NULL if there is nothing to make.
     * [load-thread] */
    int32_t (*prepare)(void *user, const bitquilt_node *node, bitquilt_prepared *prepared, bitquilt_error *error);

    /* Answers BITQUILT_OK if it runs the node for the shapes of this run, else BITQUILT_UNSUPPORTED: then the next kernel does.
     * Asked when memory for these shapes is laid out, not at each run, and only if `prepare` set `or_next`. The run is as for
     * `scratch`. The same shapes give the same answer each time. [any-thread] */
    int32_t (*serves)(void *user, const bitquilt_run *run);

    /* As those of bitquilt_op. `run->prepared` is what `prepare` made, which several runs may read at once. [any-thread] */
    void (*scratch)(void *user, const bitquilt_run *run, bitquilt_scratch *scratch);
    int32_t (*run)(void *user, const bitquilt_run *run, bitquilt_error *error);

    /* Frees what `prepare` made: called once for each that returned BITQUILT_OK, after the last run. NULL if there is nothing to
     * free. [any-thread] */
    void (*destroy)(void *user, void *prepared);
} bitquilt_kernel;

/* ---- The plugin ---- */

/* What a plugin has, up to 1024 of each. Loaded whole or not at all. */
typedef struct bitquilt_plugin {
    uint64_t magic; /* BITQUILT_MAGIC */
    uint32_t api;   /* BITQUILT_C_API */
    uint32_t size;  /* sizeof(bitquilt_plugin) */
    const char *name; /* unique among the plugins of a program */
    const char *version;
    size_t encoding_count;
    const bitquilt_encoding *const *encodings;
    size_t op_count;
    const bitquilt_op *const *ops;
    size_t kernel_count;
    const bitquilt_kernel *const *kernels;
} bitquilt_plugin;

/* The constant that a plugin's library exports. */
extern BITQUILT_EXPORT_SYMBOL const bitquilt_plugin bitquilt_c_plugin;

#ifdef __cplusplus
}
#endif

#endif /* BITQUILT_H */
