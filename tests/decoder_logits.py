#!/usr/bin/env python3
"""Writes the logits of an independent forward pass in f64 of a decoder in a GGUF file.

    tests/decoder_logits.py MODEL.gguf LOGITS.npy TOKEN...

Layers are those of Llama; queries, keys and values have biases, and heads of queries and keys norms, where the file has tensors for them.
Tensors are of f32 or q4_0. Writes f64 [tokens, vocabulary]: the whole text at once, without a cache. Needs numpy.
"""

import argparse
import struct
from pathlib import Path

import numpy as np

# Architectures in which neighbours turn together; in the others the first half of a head turns with the second.
NEIGHBOURS = {"llama"}

# GGUF's scalar types by their numbers, as struct has them.
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def scalar(self, kind):
        (value,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value

    def text(self):
        length = self.scalar("Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, length = self.scalar("I"), self.scalar("Q")
            return [self.value(kind) for _ in range(length)]
        return self.scalar(SCALARS[kind])


def f32(data, count):
    return np.frombuffer(data, "<f4", count).astype(np.float64)


def q4_0(data, count):
    """Blocks of 32 values: an f16 scale, then the low halves of 16 bytes, then the high ones, each 8 too large."""
    blocks = np.frombuffer(data, np.dtype([("scale", "<f2"), ("codes", "u1", 16)]), count // 32)
    codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], -1).astype(np.float64) - 8
    return (codes * blocks["scale"].astype(np.float64)[:, None]).reshape(-1)


def read(path):
    """The metadata and the tensors of a GGUF file."""
    reader = Reader(Path(path).read_bytes())
    magic, _version, tensors, entries = struct.unpack_from("<4sIQQ", reader.data)
    assert magic == b"GGUF"
    reader.at = 24
    metadata = {reader.text(): reader.value(reader.scalar("I")) for _ in range(entries)}
    infos = []
    for _ in range(tensors):
        name, rank = reader.text(), reader.scalar("I")
        dims = [reader.scalar("Q") for _ in range(rank)]
        infos.append((name, dims[::-1], reader.scalar("I"), reader.scalar("Q")))
    begin = (reader.at + 31) // 32 * 32
    decode = {0: f32, 2: q4_0}
    data = memoryview(reader.data)
    return metadata, {
        name: decode[kind](data[begin + offset :], int(np.prod(shape))).reshape(shape) for name, shape, kind, offset in infos
    }


def forward(metadata, w, tokens):
    architecture = metadata["general.architecture"]

    def key(name, default=None):
        value = metadata.get(f"{architecture}.{name}", default)
        assert value is not None, name
        return value

    n, heads = len(tokens), key("attention.head_count")
    kv_heads = key("attention.head_count_kv", heads)
    head = key("attention.key_length", key("embedding_length") // heads)
    eps = key("attention.layer_norm_rms_epsilon")
    dims = key("rope.dimension_count", head)

    def norm(x, scales):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scales

    angles = np.outer(np.arange(n), key("rope.freq_base", 10000.0) ** (-np.arange(0, dims, 2) / dims))
    cos, sin = np.cos(angles)[:, None, :], np.sin(angles)[:, None, :]

    def rope(x):
        x = x.copy()
        if architecture in NEIGHBOURS:
            first, second = slice(0, dims, 2), slice(1, dims, 2)
        else:
            first, second = slice(0, dims // 2), slice(dims // 2, dims)
        a, b = x[..., first].copy(), x[..., second].copy()
        x[..., first], x[..., second] = a * cos - b * sin, a * sin + b * cos
        return x

    future = np.triu(np.full((n, n), -np.inf), 1)
    x = w["token_embd.weight"][tokens]
    for layer in range(key("block_count")):
        part = lambda name: w[f"blk.{layer}.{name}"]
        normed = norm(x, part("attn_norm.weight"))

        def project(name, heads):
            bias = w.get(f"blk.{layer}.attn_{name}.bias", 0)
            projected = (normed @ part(f"attn_{name}.weight").T + bias).reshape(n, heads, head)
            scales = w.get(f"blk.{layer}.attn_{name}_norm.weight")
            return projected if scales is None else norm(projected, scales)

        q, k, v = project("q", heads), project("k", kv_heads), project("v", kv_heads)
        q, k, v = rope(q), rope(k).repeat(heads // kv_heads, 1), v.repeat(heads // kv_heads, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head) + future
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", scores, v).reshape(n, -1) @ part("attn_output.weight").T
        normed = norm(x, part("ffn_norm.weight"))
        gate = normed @ part("ffn_gate.weight").T
        x = x + (gate / (1 + np.exp(-gate)) * (normed @ part("ffn_up.weight").T)) @ part("ffn_down.weight").T
    return norm(x, w["output_norm.weight"]) @ w.get("output.weight", w["token_embd.weight"]).T


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("logits", type=Path)
    parser.add_argument("tokens", type=int, nargs="+")
    arguments = parser.parse_args()
    metadata, weights = read(arguments.model)
    np.save(arguments.logits, forward(metadata, weights, arguments.tokens))


if __name__ == "__main__":
    main()
