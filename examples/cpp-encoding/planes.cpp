// A bitquilt plugin in C++: the encoding `acme.cpp_planes`, whose blocks no declared layout describes, and its products all the same.
//
//     c++ -std=c++20 -O2 -fPIC -shared -I ../../plugins/c-bridge/include planes.cpp -o libacme_planes.so

#include <algorithm>
#include <array>
#include <cmath>

#include "bitquilt.h"

namespace {

// ---- A block: 64 values in 34 bytes ----
//
// Byte g, 0 or 1, is the level of the scale of values 32 * g to 32 * g + 31: 0 for none, and else an eighth of a power of two. Then come
// four planes for each group, 4 bytes each: bit b of the code of value i of the group is bit i mod 8 of byte i / 8 of plane b.

constexpr size_t groups = 2, group_len = 32, planes = 4;
constexpr size_t block_len = groups * group_len, plane_bytes = group_len / 8, block_bytes = groups * (1 + planes * plane_bytes);

// What is taken from a code: codes stand for -8 to 7.
constexpr int offset = 8;

// The level of the scale 1.
constexpr int level_of_one = 160;

// 2^(i / 8) as floats. From a table, since bytes and values are to be the same on every machine, which `exp2` need not be.
constexpr std::array<float, 8> eighths = {1.0f,        1.0905077f, 1.1892071f, 1.2968396f,
                                          1.4142135f, 1.5422108f, 1.6817929f, 1.8340081f};

float scale_of(uint8_t level) {
    const int above = level - level_of_one + 8 * 32;  // not negative: at least 96
    return level == 0 ? 0.0f : std::ldexp(eighths[above % 8], above / 8 - 32);
}

const uint8_t *group_planes(const uint8_t *block, size_t group) {
    return block + groups + group * planes * plane_bytes;
}

uint8_t code_of(const uint8_t *of_group, size_t i) {
    unsigned code = 0;
    for (size_t plane = 0; plane < planes; plane++) {
        code |= (of_group[plane * plane_bytes + i / 8] >> i % 8 & 1u) << plane;
    }
    return static_cast<uint8_t>(code);
}

// ---- Its functions. None of them throws ----

// The least level whose scale holds the largest magnitude; the greatest where none does.
uint8_t level_for(float largest) {
    if (largest / 7.0f < scale_of(1)) {
        return 0;
    }
    int low = 1, high = 255;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (7.0f * scale_of(static_cast<uint8_t>(middle)) >= largest) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return static_cast<uint8_t>(low);
}

void quantize_block(const float *values, uint8_t *block) {
    std::fill_n(block, block_bytes, uint8_t{0});
    for (size_t group = 0; group < groups; group++, values += group_len) {
        float largest = 0.0f;
        for (size_t i = 0; i < group_len; i++) {
            largest = std::max(largest, std::fabs(values[i]));
        }
        block[group] = level_for(largest);
        const float scale = scale_of(block[group]);
        uint8_t *of_group = block + groups + group * planes * plane_bytes;
        for (size_t i = 0; i < group_len; i++) {
            const float level = scale == 0.0f ? 0.0f : std::clamp(std::round(values[i] / scale), -8.0f, 7.0f);
            const unsigned code = static_cast<unsigned>(static_cast<int>(level) + offset);
            for (size_t plane = 0; plane < planes; plane++) {
                of_group[plane * plane_bytes + i / 8] |= static_cast<uint8_t>((code >> plane & 1u) << i % 8);
            }
        }
    }
}

int32_t quantize(void *, const float *values, size_t rows, size_t row_len, const float *, uint8_t *dst, bitquilt_error *) {
    for (size_t block = 0; block < rows * row_len / block_len; block++) {
        quantize_block(values + block * block_len, dst + block * block_bytes);
    }
    return BITQUILT_OK;
}

int32_t dequantize(void *, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *) {
    for (size_t i = 0; i < count * block_len; i++) {
        const uint8_t *block = blocks + i / block_len * block_bytes;
        const size_t group = i % block_len / group_len;
        const int code = code_of(group_planes(block, group), i % group_len);
        dst[i] = static_cast<float>(code - offset) * scale_of(block[group]);
    }
    return BITQUILT_OK;
}

// What the host's kernels multiply with: a code for each value, a scale for each group.
int32_t unpack(void *, const uint8_t *blocks, size_t count, uint8_t *codes, float *scales, float *, bitquilt_error *) {
    for (size_t block = 0; block < count; block++, blocks += block_bytes) {
        for (size_t group = 0; group < groups; group++) {
            const uint8_t *of_group = group_planes(blocks, group);
            *scales++ = scale_of(blocks[group]);
            for (size_t i = 0; i < group_len; i++) {
                *codes++ = code_of(of_group, i);
            }
        }
    }
    return BITQUILT_OK;
}

constexpr bitquilt_encoding encoding = {
    .size = sizeof(bitquilt_encoding),
    .name = "acme.cpp_planes",
    .summary = "4-bit integers in bit planes, a logarithmic scale for each 32, in C++",
    .version = 1,
    .importance = BITQUILT_IMPORTANCE_IGNORED,
    .block_len = block_len,
    .block_bytes = block_bytes,
    .quantize = quantize,
    .dequantize = dequantize,
    .unpack = unpack,
    .group_len = group_len,
    .code_bits = planes,
    .code_offset = offset,
};

constexpr const bitquilt_encoding *encodings[] = {&encoding};

}  // namespace

// ---- The plugin: a constant, since the host reads the beginning of it in the file ----

BITQUILT_EXPORT constexpr bitquilt_plugin bitquilt_c_plugin = {
    .magic = BITQUILT_MAGIC,
    .api = BITQUILT_C_API,
    .size = sizeof(bitquilt_plugin),
    .name = "acme-planes",
    .version = "0.1.0",
    .encoding_count = 1,
    .encodings = encodings,
};
