"""Writes ffn.safetensors: the small feed-forward weights that the `mixed` example ships with, as bf16.

Synthetic, but of the kind that trained weights are: normal values whose columns differ in scale, and a few outliers.
Usage: python3 make_ffn.py (needs numpy).
"""
import json
import pathlib
import struct

import numpy as np

WIDTH, HIDDEN = 256, 512


def weight(rng, rows, columns):
    scale = np.exp(rng.normal(0.0, 0.3, size=(1, columns)))
    values = rng.normal(0.0, 1.0, size=(rows, columns)) * scale / np.sqrt(columns)
    outliers = rng.random(size=values.shape) < 0.001
    return np.where(outliers, values * 6.0, values).astype(np.float32)


def bf16(values):
    bits = values.view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype("<u2")


def main():
    rng = np.random.default_rng(7)
    shapes = {"gate": (HIDDEN, WIDTH), "up": (HIDDEN, WIDTH), "down": (WIDTH, HIDDEN)}
    header, data = {}, b""
    for part, shape in shapes.items():
        payload = bf16(weight(rng, *shape)).tobytes()
        header[f"model.layers.0.mlp.{part}_proj.weight"] = {
            "dtype": "BF16",
            "shape": list(shape),
            "data_offsets": [len(data), len(data) + len(payload)],
        }
        data += payload
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = pathlib.Path(__file__).with_name("ffn.safetensors")
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main()
