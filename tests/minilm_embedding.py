#!/usr/bin/env python3
"""Embeds a sentence by an independent forward pass of a BERT encoder in f64.

    tests/minilm_embedding.py MODEL.safetensors CONFIG.json EMBEDDING.npy TOKEN...

Writes the mean of the last layer's rows, of length 1: f64 [width]. The tokens are numbers, [CLS] and [SEP] included. Needs numpy.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np


def read(path):
    """The f32 tensors of a safetensors file, as f64."""
    file = Path(path).read_bytes()
    begin = 8 + int.from_bytes(file[:8], "little")
    tensors = {}
    for name, entry in json.loads(file[8:begin]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, end = entry["data_offsets"]
            values = np.frombuffer(file[begin + first : begin + end], "<f4")
            tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def embed(w, config, tokens):
    """Post-norm blocks of attention without a mask and of two matrices with the exact GELU."""
    n, heads = len(tokens), config["num_attention_heads"]
    erf = np.vectorize(math.erf)

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.position_embeddings.weight"][:n]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{layer}"
        q, k, v = (
            linear(x, f"{name}.attention.self.{part}").reshape(n, heads, -1) for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        attended = np.einsum("hqk,khd->qhd", scores, v).reshape(n, -1)
        x = norm(x + linear(attended, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        hidden = linear(x, f"{name}.intermediate.dense")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        x = norm(x + linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.sqrt((mean * mean).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("config", type=Path)
    parser.add_argument("embedding", type=Path)
    parser.add_argument("tokens", type=int, nargs="+")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text())
    np.save(arguments.embedding, embed(read(arguments.model), config, arguments.tokens))


if __name__ == "__main__":
    main()
