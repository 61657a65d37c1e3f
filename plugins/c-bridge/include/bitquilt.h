/*
 * bitquilt.h: quantization encodings and ops for bitquilt, written in C.
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
 * Rules that hold for all of it:
 *
 * - Every struct begins with (or, for `bitquilt_plugin`, has) its `size`: set it to sizeof of the struct. Later versions of
 *   this header add fields at the end alone, and the size says which are there. Arrays of structs are arrays of pointers.
 *   Set what you do not use to zero, as a designated initializer does.
 * - What you export must stay valid and unchanged until the process ends. The host reads it once, when it loads the library.
 * - What the host hands to a function is valid until that function returns. Keep no pointer of it.
 * - Functions are called from any thread, and from several at once. They are given `user`, which is yours; what it points to must
 *   be safe to use so. Start no threads: take the host's, with `par_for`.
 * - Functions and tasks begin in the default floating-point environment. One that changes it (rounding, flush to zero, traps) puts
 *   back what it found before it returns or calls the host. Do not link with -ffast-math: that adds a constructor which changes it.
 * - A function returns BITQUILT_OK, or another status and a text in `error`. No C++ exception and no longjmp may leave it.
 * - Texts are UTF-8 and end with a zero. Names have 1 to 64 of a-z A-Z 0-9 _ - . and begin with a letter. Those of encodings and
 *   ops are shared by all plugins: put a namespace before them, as in "acme.int4".
 *
 * A segfault in a plugin ends the host. Plugins are trusted code.
 */
#ifndef BITQUILT_H
#define BITQUILT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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
/* Inputs, outputs and attributes of an op, at most. */
#define BITQUILT_MAX_INPUTS 16
#define BITQUILT_MAX_OUTPUTS 8
#define BITQUILT_MAX_ATTRIBUTES 16

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

    /* Encodes `rows` rows of `row_len` values each. The values are finite, and a row is a whole number of blocks. `importance` has
     * `row_len` weights, or is NULL. `dst` has exactly the bytes of the rows' blocks, in order; write all of them.
     * The same values give the same bytes on every machine, whatever rows are beside them. */
    int32_t (*quantize)(void *user, const float *values, size_t rows, size_t row_len, const float *importance, uint8_t *dst,
                        bitquilt_error *error);

    /* Decodes `count` blocks. They may hold anything: decode what no encoder writes to some values, or refuse it.
     * `dst` has `count * block_len` values; write all of them. */
    int32_t (*dequantize)(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error);
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
    BITQUILT_INPUT_DENSE = 1,  /* values of a dtype */
    BITQUILT_INPUT_ENCODED = 2 /* blocks of an encoding */
};

/* How many tensors an input stands for. */
enum {
    BITQUILT_ARITY_ONE = 1,
    BITQUILT_ARITY_OPTIONAL = 2, /* one or none; the last input alone */
    BITQUILT_ARITY_MANY = 3      /* one or more; the last input alone */
};

/* One input of an op. */
typedef struct bitquilt_input {
    size_t size;
    const char *name;
    uint32_t kind;  /* BITQUILT_INPUT_... */
    uint32_t arity; /* BITQUILT_ARITY_... */
} bitquilt_input;

/* The kind of an attribute's value. */
enum {
    BITQUILT_VALUE_INT = 1,
    BITQUILT_VALUE_FLOAT = 2,
    BITQUILT_VALUE_BOOL = 3, /* in `integer`: 0 or 1 */
    BITQUILT_VALUE_TEXT = 4
};

/* A value of an attribute: the field of its kind is set. */
typedef struct bitquilt_value {
    size_t size;
    uint32_t kind; /* BITQUILT_VALUE_... */
    uint32_t reserved;
    int64_t integer;
    double number;
    const char *text;
} bitquilt_value;

/* A named parameter of an op. */
typedef struct bitquilt_attribute {
    size_t size;
    const char *name;
    uint32_t kind; /* BITQUILT_VALUE_... */
    uint32_t reserved;
    const bitquilt_value *initial; /* its value where none is given; NULL if it must be given */
} bitquilt_attribute;

/* ---- Ops: types in, types out ---- */

/* The type of a tensor: what it is made of, and its logical shape, outermost dimension first. */
typedef struct bitquilt_type {
    size_t size;
    uint32_t dtype; /* BITQUILT_F32 ..., or BITQUILT_ENCODED */
    uint32_t rank;  /* dimensions in `shape` */
    /* A dimension that is not known until a run is a negative number; the same number is the same dimension. Such numbers may be
     * compared and copied into outputs. Shapes of encoded tensors count values, not bytes, and are always known. */
    int64_t shape[BITQUILT_MAX_RANK];
    const char *encoding; /* name of an encoded tensor's encoding, else NULL */
    size_t block_len;     /* of that encoding, else 0; not read in outputs */
    size_t block_bytes;
} bitquilt_type;

/* A node of a graph, while it is built. */
typedef struct bitquilt_node {
    size_t size;
    size_t input_count;
    const bitquilt_type *const *inputs;
    size_t attribute_count; /* those of the op, in its order, each given or its initial value */
    const bitquilt_value *const *attributes;
} bitquilt_node;

/* ---- Ops: a run ---- */

/* A tensor. Contiguous, row-major. Outputs are aligned to 64 bytes, inputs for their dtype; blocks are not aligned. */
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
    void *output; /* where an output is written, the same as `data`; NULL for an input */
} bitquilt_tensor;

typedef struct bitquilt_run bitquilt_run;

/* A task of a parallel region. `worker` is below the run's `workers`; tasks of one worker run one after the other. */
typedef int32_t (*bitquilt_task)(void *data, size_t task, size_t worker, bitquilt_error *error);

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

    /* Calls `task(data, i, worker, error)` for each i below `tasks`, in any order, on the host's threads and this one, and returns
     * when all have returned. The first status other than BITQUILT_OK is returned, with its text; tasks not begun are then left
     * out. To be called on the thread that `run` was called on, or from a task, which then runs the new tasks itself. */
    int32_t (*par_for)(const bitquilt_run *run, size_t tasks, bitquilt_task task, void *data, bitquilt_error *error);

    /* Decodes `count` blocks of the encoded input `input`, whatever its encoding: `dst` has `count * block_len` values. */
    int32_t (*decode)(const bitquilt_run *run, size_t input, const uint8_t *blocks, size_t count, float *dst,
                      bitquilt_error *error);
};

/* Bytes of memory that a run needs besides its outputs. */
typedef struct bitquilt_scratch {
    size_t size;
    size_t shared;     /* for the run */
    size_t per_worker; /* for each worker */
} bitquilt_scratch;

/* An op. If it has an encoded input, it serves every encoding; `decode` reads them all. */
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

    /* Writes the types of the outputs (`dtype`, `rank`, `shape`, `encoding` of each), or says what is wrong with the inputs and what was
     * expected. The inputs fit the op's description; their dtypes, ranks and shapes are to be checked. The same inputs give
     * the same answer each time. */
    int32_t (*infer)(void *user, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error);

    /* Says what memory a run needs, by the shapes of its tensors; `data`, `output` and the run's memory are not there yet, and
     * neither function may be called. NULL if it needs none. `scratch` is zero when this is called. */
    void (*scratch)(void *user, const bitquilt_run *run, bitquilt_scratch *scratch);

    /* Computes the outputs; write all of each. Allocate nothing: take memory from `scratch`. */
    int32_t (*run)(void *user, const bitquilt_run *run, bitquilt_error *error);
} bitquilt_op;

/* ---- The plugin ---- */

/* What a plugin has. Loaded whole or not at all. */
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
} bitquilt_plugin;

/* The constant that a plugin's library exports. */
extern BITQUILT_EXPORT_SYMBOL const bitquilt_plugin bitquilt_c_plugin;

#ifdef __cplusplus
}
#endif

#endif /* BITQUILT_H */
