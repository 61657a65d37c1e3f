"""Checkpoints of quantized layers as other programs write them, with the values that their formulas give.

    make_checkpoints.py DIRECTORY

In DIRECTORY there is a directory for each case, with model.safetensors, config.json, and expected.safetensors: f32 weights by name, and for
columns in another order what they are after it, with the order as i64. Codes, scales and zeros are drawn, so that nothing here depends on
how a program chooses them; how they are packed, and what they stand for, is written from the formats' definitions.
"""

import json
import sys
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(20240607)
F32 = np.float32


def save(path, tensors):
    """Writes a safetensors file; bf16 is a pair of a name and u16 values."""
    dtypes = {"float32": "F32", "float16": "F16", "int32": "I32", "uint32": "U32", "int64": "I64", "uint8": "U8", "int8": "I8"}
    header, data = {}, b""
    for name, value in tensors.items():
        dtype, array = value if isinstance(value, tuple) else (dtypes[str(value.dtype)], value)
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def bf16(values):
    """The upper halves of f32 values, and the values that these are."""
    upper = (values.astype(F32).view(np.uint32) >> 16).astype(np.uint16)
    return ("BF16", upper), (upper.astype(np.uint32) << 16).view(F32)


def scales_of(shape, dtype):
    """Scales as they are stored, and in f32."""
    values = (RNG.standard_normal(shape) * 0.05).astype(F32)
    if dtype == "bf16":
        return bf16(values)
    stored = values.astype(np.float16 if dtype == "f16" else F32)
    return stored, stored.astype(F32)


def stream(codes, bits):
    """Codes along the last axis as one stream of bits in 32-bit words, the lowest first."""
    places = (codes[..., None].astype(np.uint64) >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)
    flat = places.reshape(*codes.shape[:-1], -1).astype(np.uint8)
    padding = -flat.shape[-1] % 32
    flat = np.concatenate([flat, np.zeros((*flat.shape[:-1], padding), np.uint8)], axis=-1)
    return np.packbits(flat, axis=-1, bitorder="little").view(np.uint32)


def padded(codes, bits):
    """As `stream`, with no code in two words."""
    per_word = 32 // bits
    padding = -codes.shape[-1] % per_word
    filled = np.concatenate([codes, np.zeros((*codes.shape[:-1], padding), codes.dtype)], axis=-1).astype(np.uint32)
    lanes = filled.reshape(*filled.shape[:-1], -1, per_word) << (np.uint32(bits) * np.arange(per_word, dtype=np.uint32))
    return np.bitwise_or.reduce(lanes, axis=-1)


def gptq(out, inputs, group, bits, version, act_order, symmetric, dtype="f16"):
    groups = -(-inputs // group)
    codes = RNG.integers(0, 2**bits, (inputs, out), dtype=np.uint8)
    zeros = RNG.integers(1, 2**bits, (groups, out), dtype=np.uint8)
    if symmetric:
        zeros[:] = 2 ** (bits - 1)
    scales, values = scales_of((groups, out), dtype)
    index = np.arange(inputs) // group
    if act_order:
        index = RNG.permutation(index)
    stored = zeros if version == "gptq_v2" else zeros - 1
    tensors = {
        "a.qweight": stream(codes.T, bits).T.view(np.int32),
        "a.qzeros": stream(stored, bits).view(np.int32),
        "a.scales": scales,
        "a.g_idx": index.astype(np.int32),
        "a.bias": np.zeros(out, np.float16),
    }
    weight = ((codes.astype(F32) - zeros[index].astype(F32)) * values[index]).T
    expected = {"a.weight": weight}
    order = np.argsort(index, kind="stable")
    if not np.all(order == np.arange(inputs)):
        expected = {"a.weight": weight[:, order], "a.weight.perm": order.astype(np.int64)}
    config = {"quant_method": "gptq", "bits": bits, "group_size": group if group < inputs else -1, "desc_act": act_order,
              "sym": symmetric, "checkpoint_format": version}
    return tensors, config, expected


def awq(out, inputs, group):
    codes = RNG.integers(0, 16, (inputs, out), dtype=np.uint32)
    zeros = RNG.integers(0, 16, (inputs // group, out), dtype=np.uint32)
    scales, values = scales_of((inputs // group, out), "f16")

    def pack(lines):
        words = lines.reshape(lines.shape[0], -1, 8)[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
        return np.bitwise_or.reduce(words << (4 * np.arange(8, dtype=np.uint32)), axis=-1).view(np.int32)

    index = np.arange(inputs) // group
    weight = ((codes.astype(F32) - zeros[index].astype(F32)) * values[index]).T
    tensors = {"a.qweight": pack(codes), "a.qzeros": pack(zeros), "a.scales": scales}
    return tensors, {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}, {"a.weight": weight}


def hqq(out, inputs, group, bits, dtype):
    lines = out * inputs // group
    codes = RNG.integers(0, 2**bits, (lines, group), dtype=np.uint32)
    name, per_unit, step = {8: ("8bit_u8", 1, 8), 4: ("4bit_u8", 2, 4), 3: ("3bit_32", 10, 3), 2: ("2bit_u8", 4, 2), 1: ("1bit_u8", 8, 1)}[bits]
    slab = -(-lines // per_unit)
    whole = np.zeros((slab * per_unit, group), np.uint32)
    whole[:lines] = codes
    units = np.zeros((slab, group), np.uint32)
    for part in range(per_unit):
        units |= whole[part * slab:(part + 1) * slab] << np.uint32(step * (per_unit - 1 - part))
    scale, scale_values = scales_of((lines, 1), dtype)
    zero, zero_values = scales_of((lines, 1), dtype)
    zero_values = zero_values * F32(64)
    zero = (zero[0], (zero_values.view(np.uint32) >> 16).astype(np.uint16)) if dtype == "bf16" else zero_values.astype(zero.dtype)
    tensors = {
        "a.W_q": units.view(np.int32) if bits == 3 else units.astype(np.uint8),
        "a.scale": scale, "a.zero": zero,
        "a.shape": np.array([out, inputs], np.int64),
        "a.nbits": np.array(bits, np.uint8), "a.axis": np.array(1, np.uint8),
        "a.packing": np.frombuffer(name.encode(), np.uint8),
    }
    weight = ((codes.astype(F32) - zero_values) * scale_values).reshape(out, inputs)
    return tensors, {"quant_method": "hqq"}, {"a.weight": weight}


def bitsandbytes(out, inputs, block, kind, nested):
    count = out * inputs
    blocks = -(-count // block)
    codes = RNG.integers(0, 16, count + count % 2, dtype=np.uint8)
    table = np.sort(RNG.standard_normal(16)).astype(F32)
    state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [out, inputs]}
    tensors = {"a.weight": ((codes[::2] << 4) | codes[1::2])[:, None], "a.weight.quant_map": table}
    if nested:
        entries = RNG.integers(0, 256, blocks, dtype=np.uint8)
        map256 = np.sort(RNG.standard_normal(256)).astype(F32)
        inner = np.abs(RNG.standard_normal(-(-blocks // 256))).astype(F32)
        offset = F32(RNG.standard_normal())
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
        absmax = map256[entries] * inner[np.arange(blocks) // 256] + offset
        tensors |= {"a.weight.absmax": entries, "a.weight.nested_absmax": inner, "a.weight.nested_quant_map": map256}
    else:
        absmax = np.abs(RNG.standard_normal(blocks)).astype(F32)
        tensors["a.weight.absmax"] = absmax
    tensors[f"a.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    weight = (table[codes[:count]] * absmax[np.arange(count) // block]).reshape(out, inputs)
    return tensors, {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"a.weight": weight}


def mlx(out, inputs, group, bits, dtype):
    codes = RNG.integers(0, 2**bits, (out, inputs), dtype=np.uint8)
    scale, scale_values = scales_of((out, inputs // group), dtype)
    bias, bias_values = scales_of((out, inputs // group), dtype)
    index = np.arange(inputs) // group
    weight = codes.astype(F32) * scale_values[:, index] + bias_values[:, index]
    return {"a.weight": stream(codes, bits), "a.scales": scale, "a.biases": bias}, {"group_size": group, "bits": bits}, {"a.weight": weight}


def packed(out, inputs, groups, bits, asymmetric, dtype):
    codes = RNG.integers(0, 2**bits, (out, inputs), dtype=np.uint8)
    scale, values = scales_of((out, groups), dtype)
    zeros = RNG.integers(0, 2**bits, (out, groups), dtype=np.uint8)
    tensors = {"a.weight_packed": padded(codes, bits).view(np.int32), "a.weight_shape": np.array([out, inputs], np.int64), "a.weight_scale": scale}
    if asymmetric:
        tensors["a.weight_zero_point"] = np.ascontiguousarray(padded(zeros.T, bits).T).view(np.int32)
    else:
        zeros[:] = 2 ** (bits - 1)
    middle = F32(2 ** (bits - 1))
    index = np.arange(inputs) // (inputs // groups)
    weight = ((codes.astype(F32) - middle) - (zeros[:, index].astype(F32) - middle)) * values[:, index]
    weights = {"num_bits": bits, "type": "int", "symmetric": not asymmetric, "strategy": "group", "group_size": inputs // groups}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    return tensors, config, {"a.weight": weight}


def e4m3(codes):
    """Values of E4M3 codes that are no NaN."""
    exponent, fraction = (codes >> 3 & 15).astype(np.int32), (codes & 7).astype(F32)
    magnitude = np.where(exponent == 0, fraction * F32(2.0**-9), (F32(1) + fraction / F32(8)) * np.exp2((exponent - 7).astype(F32)))
    return np.where(codes & 128, -magnitude, magnitude).astype(F32)


def fp8(out, inputs, shape, dtype):
    codes = RNG.integers(0, 256, (out, inputs), dtype=np.uint8)
    codes[(codes & 127) == 127] = 8
    scale, values = scales_of(shape, dtype)
    spread = values
    if len(shape) == 2:
        spread = np.repeat(np.repeat(values, out // shape[0], axis=0), inputs // shape[1], axis=1)
    weight = (e4m3(codes) * spread).astype(F32)
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    if len(shape) == 2 and shape[0] < out:
        weights |= {"strategy": "block", "block_structure": [out // shape[0], inputs // shape[1]]}
    config = {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {"group_0": {"weights": weights}}}
    return {"a.weight": ("F8_E4M3", codes), "a.weight_scale": scale}, config, {"a.weight": weight}


def cases():
    for bits in [2, 3, 4, 8]:
        for version in ["gptq", "gptq_v2"]:
            yield f"gptq-{bits}-{version}", gptq(64, 256, 64, bits, version, False, False)
        yield f"gptq-{bits}-order", gptq(32, 128, 32, bits, "gptq", True, False)
        yield f"gptq-{bits}-symmetric", gptq(96, 160, 160, bits, "gptq", False, True, "bf16")
    for out, inputs, group in [(8, 32, 32), (40, 256, 128), (64, 192, 64)]:
        yield f"awq-{out}-{inputs}-{group}", awq(out, inputs, group)
    for bits in [1, 2, 3, 4, 8]:
        for dtype in ["f16", "bf16", "f32"]:
            yield f"hqq-{bits}-{dtype}", hqq(24, 128, 64, bits, dtype)
    yield "hqq-3-odd", hqq(7, 96, 32, 3, "f16")
    for kind in ["nf4", "fp4"]:
        for nested in [False, True]:
            yield f"bitsandbytes-{kind}-{nested}", bitsandbytes(37, 96, 64, kind, nested)
            yield f"bitsandbytes-{kind}-{nested}-long", bitsandbytes(300, 128, 64, kind, nested)
    for bits in [2, 3, 4, 5, 6, 8]:
        for group in [32, 64, 128]:
            yield f"mlx-{bits}-{group}", mlx(11, 256, group, bits, "bf16" if bits % 2 else "f16")
    for bits in [2, 4, 8]:
        for asymmetric in [False, True]:
            yield f"packed-{bits}-{asymmetric}", packed(13, 192, 3, bits, asymmetric, "bf16")
            yield f"packed-{bits}-{asymmetric}-row", packed(5, 64, 1, bits, asymmetric, "f16")
    for shape in [(1,), (10, 1), (10, 4), (5, 2)]:
        yield f"fp8-{'x'.join(map(str, shape))}", fp8(10, 64, shape, "bf16" if len(shape) == 1 else "f32")


for name, (tensors, config, expected) in cases():
    directory = Path(sys.argv[1]) / name
    directory.mkdir()
    tensors["norm.weight"] = RNG.standard_normal(3).astype(F32)
    save(directory / "model.safetensors", tensors)
    save(directory / "expected.safetensors", expected)
    key = "quantization_config" if "quant_method" in config else "quantization"
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", key: config}))
