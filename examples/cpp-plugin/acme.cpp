// A bitquilt plugin in C++: the op `acme.cpp_distances`, and a kernel that decodes a constant matrix once for all runs.
//
//     c++ -std=c++20 -O2 -fPIC -shared -I ../../plugins/c-bridge/include acme.cpp -o libacme_cpp.so

#include <memory>
#include <stdexcept>
#include <string>

#include "bitquilt.h"

namespace {

// ---- Exceptions end at the border: they become a status and a text there ----

// What the host answered with, on its way through C++.
class HostError : public std::runtime_error {
public:
    HostError(int32_t status, const bitquilt_error &error) : std::runtime_error(error.text), status(status) {}
    const int32_t status;
};

void check(int32_t status, const bitquilt_error *error) {
    if (status != BITQUILT_OK) {
        throw HostError(status, *error);
    }
}

template <typename Body>
int32_t guarded(bitquilt_error *error, Body body) noexcept {
    try {
        body();
        return BITQUILT_OK;
    } catch (const HostError &caught) {
        return bitquilt_fail(error, caught.status, "%s", caught.what());
    } catch (const std::invalid_argument &caught) {
        return bitquilt_fail(error, BITQUILT_INVALID, "%s", caught.what());
    } catch (const std::exception &caught) {
        return bitquilt_fail(error, BITQUILT_FAILED, "%s", caught.what());
    } catch (...) {
        return bitquilt_fail(error, BITQUILT_FAILED, "something that is no std::exception was thrown");
    }
}

// Calls `body(task, worker)` for each task on the host's threads; `host` is a node or a run.
template <typename Host, typename Body>
void par_for(const Host *host, size_t tasks, Body body, bitquilt_error *error) {
    const bitquilt_task task = [](void *data, size_t index, size_t worker, bitquilt_error *of_task) {
        return guarded(of_task, [&] { (*static_cast<Body *>(data))(index, worker, of_task); });
    };
    check(host->par_for(host, tasks, task, &body, error), error);
}

// Decodes a row of `w`, input 1 of a node or a run.
template <typename Host>
void decode_row(const Host *host, const bitquilt_tensor &w, size_t row, float *values, bitquilt_error *error) {
    const size_t blocks = w.shape[1] / w.block_len;
    const auto *first = static_cast<const uint8_t *>(w.data) + row * blocks * w.block_bytes;
    check(host->decode(host, 1, first, blocks, values, error), error);
}

// ---- acme.cpp_distances(x, w): squared distances of the rows of `x` to those of an encoded matrix, f32 [rows, rows of w] ----

int32_t infer(void *, const bitquilt_node *node, bitquilt_type *const *outputs, bitquilt_error *error) {
    return guarded(error, [&] {
        const bitquilt_type &x = *node->inputs[0], &w = *node->inputs[1];
        if (x.dtype != BITQUILT_F32 || x.rank != 2 || w.rank != 2 || x.shape[1] != w.shape[1]) {
            throw std::invalid_argument("`x` is f32 [rows, n], and `w` is [outputs, n]; found " + std::to_string(x.rank) + " and "
                                        + std::to_string(w.rank) + " dimensions");
        }
        outputs[0]->dtype = BITQUILT_F32;
        outputs[0]->rank = 2;
        outputs[0]->shape[0] = x.shape[0];
        outputs[0]->shape[1] = w.shape[0];
    });
}

// Writes column `row` of the output: the distances to a row of `w`.
void distances(const bitquilt_run *run, size_t row, const float *w) {
    const bitquilt_tensor &x = *run->inputs[0], &y = *run->outputs[0];
    const size_t n = x.shape[1];
    for (size_t i = 0; i < x.shape[0]; i++) {
        const float *values = static_cast<const float *>(x.data) + i * n;
        double sum = 0.0;
        for (size_t j = 0; j < n; j++) {
            const double difference = static_cast<double>(values[j]) - static_cast<double>(w[j]);
            sum += difference * difference;
        }
        static_cast<float *>(y.output)[i * y.shape[1] + row] = static_cast<float>(sum);
    }
}

// The op's own kernel decodes a row at a time.
void scratch(void *, const bitquilt_run *run, bitquilt_scratch *scratch) {
    scratch->per_worker = run->inputs[1]->shape[1] * sizeof(float);
}

int32_t run(void *, const bitquilt_run *run, bitquilt_error *error) {
    return guarded(error, [&] {
        const bitquilt_tensor &w = *run->inputs[1];
        const auto of_row = [&](size_t row, size_t worker, bitquilt_error *of_task) {
            auto *values = reinterpret_cast<float *>(run->per_worker + worker * run->worker_stride);
            decode_row(run, w, row, values, of_task);
            distances(run, row, values);
        };
        par_for(run, w.shape[0], of_row, error);
    });
}

constexpr bitquilt_input x = {
    .size = sizeof(bitquilt_input), .name = "x", .kind = BITQUILT_INPUT_DENSE, .arity = BITQUILT_ARITY_ONE};
constexpr bitquilt_input w = {
    .size = sizeof(bitquilt_input), .name = "w", .kind = BITQUILT_INPUT_ENCODED, .arity = BITQUILT_ARITY_ONE};
constexpr const bitquilt_input *inputs[] = {&x, &w};

constexpr bitquilt_op op = {
    .size = sizeof(bitquilt_op),
    .name = "acme.cpp_distances",
    .summary = "the squared distance of each row to each row of an encoded matrix",
    .input_count = 2,
    .inputs = inputs,
    .output_count = 1,
    .infer = infer,
    .scratch = scratch,
    .run = run,
    .split = BITQUILT_SPLIT_ROWS,
    .split_input = 1,
};

// ---- The kernel `decoded`: holds a constant matrix as f32, in memory that the host lends and counts ----

class Decoded {
public:
    Decoded(const bitquilt_node *node, bitquilt_error *error) : columns(node->constants[1]->shape[1]) {
        const bitquilt_tensor &w = *node->constants[1];
        void *memory = nullptr;
        check(node->memory(node, w.shape[0] * columns * sizeof(float), &memory, error), error);
        values = static_cast<float *>(memory);
        const auto of_row = [&](size_t row, size_t, bitquilt_error *of_task) {
            decode_row(node, w, row, values + row * columns, of_task);
        };
        par_for(node, w.shape[0], of_row, error);
        note = std::string(w.encoding) + " as f32";
    }

    const float *row(size_t index) const { return values + index * columns; }

    std::string note;

private:
    size_t columns;
    float *values = nullptr;
};

int32_t supports(void *, const bitquilt_node *node, bitquilt_error *reason) {
    return node->inputs[1]->constant ? BITQUILT_OK : bitquilt_fail(reason, BITQUILT_UNSUPPORTED, "`w` is no constant");
}

int32_t prepare(void *, const bitquilt_node *node, bitquilt_prepared *prepared, bitquilt_error *error) {
    return guarded(error, [&] {
        auto decoded = std::make_unique<Decoded>(node, error);
        prepared->note = decoded->note.c_str();
        prepared->releases[1] = 1;
        prepared->data = decoded.release();
    });
}

int32_t run_decoded(void *, const bitquilt_run *run, bitquilt_error *error) {
    return guarded(error, [&] {
        const auto &decoded = *static_cast<const Decoded *>(run->prepared);
        const auto of_row = [&](size_t row, size_t, bitquilt_error *) { distances(run, row, decoded.row(row)); };
        par_for(run, run->inputs[1]->shape[0], of_row, error);
    });
}

void destroy(void *, void *prepared) {
    delete static_cast<Decoded *>(prepared);
}

constexpr bitquilt_kernel kernel = {
    .size = sizeof(bitquilt_kernel),
    .name = "decoded",
    .op = "acme.cpp_distances",
    .selector = BITQUILT_FOR_ANY_ENCODING,
    .priority = 1,
    .supports = supports,
    .prepare = prepare,
    .run = run_decoded,
    .destroy = destroy,
};

constexpr const bitquilt_op *ops[] = {&op};
constexpr const bitquilt_kernel *kernels[] = {&kernel};

}  // namespace

// ---- The plugin: a constant, since the host reads the beginning of it in the file ----

BITQUILT_EXPORT constexpr bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC,
    .api = BITQUILT_C_API,
    .size = sizeof(bitquilt_plugin),
    .name = "acme-cpp",
    .version = "0.1.0",
    .op_count = 1,
    .ops = ops,
    .kernel_count = 1,
    .kernels = kernels,
};
