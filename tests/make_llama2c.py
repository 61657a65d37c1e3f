#!/usr/bin/env python3
"""Makes a random model in llama2.c's first format, and the logits of an independent forward pass in f64.

    tests/make_llama2c.py DIR            15 million parameters, as the stories15M model of llama2.c has
    tests/make_llama2c.py DIR --small    a few thousand, grouped heads, a classifier of its own

Writes model.bin, tokenizer.bin, tokens.npy (i32 [n]) and logits.npy (f32 [n, vocabulary]). Equal arguments give equal files. Needs numpy.
"""

import argparse
import struct
from pathlib import Path

import numpy as np

SIZES = {
    False: dict(width=288, hidden=768, layers=6, heads=6, kv_heads=6, vocabulary=32000, context=256, shared=True, tokens=24),
    True: dict(width=32, hidden=64, layers=2, heads=4, kv_heads=2, vocabulary=300, context=32, shared=False, tokens=20),
}


def weights(random, width, hidden, layers, kv_width, vocabulary, shared):
    """The tensors in the order of the file, f32."""

    def matrices(*shape):
        return (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def scales(*shape):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)

    tensors = {
        "embedding": 2 * matrices(vocabulary, width),
        "attn_norm": scales(layers, width),
        "q": matrices(layers, width, width),
        "k": matrices(layers, kv_width, width),
        "v": matrices(layers, kv_width, width),
        "output": matrices(layers, width, width),
        "ffn_norm": scales(layers, width),
        "gate": matrices(layers, hidden, width),
        "down": matrices(layers, width, hidden),
        "up": matrices(layers, hidden, width),
        "norm": scales(width),
    }
    tensors["classifier"] = tensors["embedding"] if shared else 2 * matrices(vocabulary, width)
    return tensors


def forward(weights, tokens, heads, kv_heads, eps=1e-5, theta=10000.0):
    """The logits after each token: the whole text at once, without a cache, in f64."""
    w = {name: tensor.astype(np.float64) for name, tensor in weights.items()}
    n, width = len(tokens), w["embedding"].shape[1]
    head = width // heads

    def norm(x, scales):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scales

    angles = np.outer(np.arange(n), theta ** (-np.arange(0, head, 2) / head))
    turn = np.exp(1j * angles)[:, None, :]

    def rope(x):
        pairs = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
        return np.stack([pairs.real, pairs.imag], -1).reshape(x.shape)

    future = np.triu(np.full((n, n), -np.inf), 1)
    x = w["embedding"][tokens]
    for layer in range(len(w["q"])):
        normed = norm(x, w["attn_norm"][layer])
        q = rope((normed @ w["q"][layer].T).reshape(n, heads, head))
        k = rope((normed @ w["k"][layer].T).reshape(n, kv_heads, head)).repeat(heads // kv_heads, 1)
        v = (normed @ w["v"][layer].T).reshape(n, kv_heads, head).repeat(heads // kv_heads, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(head) + future
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", scores, v).reshape(n, width) @ w["output"][layer].T
        normed = norm(x, w["ffn_norm"][layer])
        gate = normed @ w["gate"][layer].T
        x = x + (gate / (1 + np.exp(-gate)) * (normed @ w["up"][layer].T)) @ w["down"][layer].T
    return norm(x, w["norm"]) @ w["classifier"].T


def write_model(path, weights, width, hidden, layers, heads, kv_heads, vocabulary, context, shared):
    sizes = (width, hidden, layers, heads, kv_heads, vocabulary if shared else -vocabulary, context)
    with open(path, "wb") as out:
        out.write(struct.pack("<7i", *sizes))
        for name, tensor in weights.items():
            if name == "classifier":
                # The cosines and sines of the positions, which no reader needs.
                out.write(np.zeros((2, context, width // heads // 2), np.float32).tobytes())
            if name != "classifier" or not shared:
                out.write(tensor.tobytes())


def write_tokenizer(path, random, vocabulary):
    """SentencePiece's special tokens and bytes, the printable ASCII characters, and pairs of what is there already."""
    tokens = ["<unk>", "\n<s>\n", "\n</s>\n"] + [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [" "] + list("etaoinshrdlucmfwypvbgkjqxzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:;()")
    pieces = letters[: max(0, vocabulary - len(tokens))]
    seen = set(pieces)
    while len(tokens) + len(pieces) < vocabulary:
        joined = pieces[random.integers(len(pieces))] + pieces[random.integers(len(pieces))]
        if len(joined) <= 8 and joined not in seen:
            seen.add(joined)
            pieces.append(joined)
    tokens += pieces
    with open(path, "wb") as out:
        out.write(struct.pack("<I", max(len(token) for token in tokens)))
        for index, token in enumerate(tokens):
            score = -float(index - 259) if index >= 259 else 0.0
            out.write(struct.pack("<fi", score, len(token)) + token.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    sizes = dict(SIZES[arguments.small])
    count = sizes.pop("tokens")
    random = np.random.default_rng(2024)
    width, heads, kv_heads = sizes["width"], sizes["heads"], sizes["kv_heads"]
    made = weights(
        random, width, sizes["hidden"], sizes["layers"], width // heads * kv_heads, sizes["vocabulary"], sizes["shared"]
    )
    tokens = random.integers(3, sizes["vocabulary"], count).astype(np.int32)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    write_model(arguments.directory / "model.bin", made, **sizes)
    write_tokenizer(arguments.directory / "tokenizer.bin", random, sizes["vocabulary"])
    np.save(arguments.directory / "tokens.npy", tokens)
    np.save(arguments.directory / "logits.npy", forward(made, tokens, heads, kv_heads).astype(np.float32))


if __name__ == "__main__":
    main()
