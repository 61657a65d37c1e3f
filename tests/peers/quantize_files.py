#!/usr/bin/env python3
"""Quantizes one GGUF file with llama-quantize and with bitquilt, in turns: the same bytes of every tensor, and how long both take.

    tests/peers/quantize_files.py [--types q8_0,q4_0,q5_0,q4_k,q6_k] [--rounds 5] [--layers 8] [--model FILE.gguf]

The model, of f32 values, is made of a seed unless one is named: a Llama of 1024 x 2816 and as many layers as are said, whose rows are
whole blocks of every encoding. Beside both it times `cp` of the file. Files are in the page cache, and both use all cores. Needs numpy,
`bitquilt` (built with `cargo build --release --bin bitquilt`, or named by BITQUILT) and `llama-quantize` (on the path, or named by
LLAMA_QUANTIZE). A machine without that is told so, and the script ends with 0: there is nothing to compare with.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy

WIDTH, INNER, WORDS, HEADS = 1024, 2816, 8192, 16


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, data):
    return text(key) + struct.pack("<I", kind) + data


def write_model(path, layers):
    """A Llama of normal values, without a vocabulary."""
    number = lambda key, value: entry(f"llama.{key}", 4, struct.pack("<I", value))
    entries = [
        entry("general.architecture", 8, text("llama")),
        number("context_length", 2048),
        number("embedding_length", WIDTH),
        number("block_count", layers),
        number("feed_forward_length", INNER),
        number("attention.head_count", HEADS),
        number("vocab_size", WORDS),
        entry("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5)),
        entry("tokenizer.ggml.model", 8, text("no_vocab")),
    ]
    shapes = {"token_embd.weight": (WORDS, WIDTH), "output.weight": (WORDS, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(layers):
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            shapes[f"blk.{layer}.{name}.weight"] = (WIDTH, WIDTH)
        for name in ["ffn_gate", "ffn_up"]:
            shapes[f"blk.{layer}.{name}.weight"] = (INNER, WIDTH)
        shapes[f"blk.{layer}.ffn_down.weight"] = (WIDTH, INNER)
        for name in ["attn_norm", "ffn_norm"]:
            shapes[f"blk.{layer}.{name}.weight"] = (WIDTH,)
    head, offset = [], 0
    for name, shape in shapes.items():
        dims = struct.pack(f"<{len(shape)}Q", *reversed(shape))
        head.append(text(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", 0, offset))
        offset += 4 * int(numpy.prod(shape))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(entries)) + b"".join(entries + head)
    random = numpy.random.default_rng(1)
    with path.open("wb") as file:
        file.write(head + bytes(-len(head) % 32))
        for shape in shapes.values():
            file.write((0.02 * random.standard_normal(shape, dtype=numpy.float32)).tobytes())


class Reader:
    """What is in a GGUF file, as far as hashes of its tensors need it."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 4
        _, tensors, entries = self.take("<IQQ")
        for _ in range(entries):
            self.text()
            self.skip(*self.take("<I"))
        infos = [self.info() for _ in range(tensors)]
        begin = (self.at + 31) // 32 * 32
        ends = sorted([offset for _, _, offset in infos] + [len(self.data) - begin])
        self.hashes = {}
        for name, kind, offset in infos:
            end = ends[ends.index(offset) + 1]
            # Padding is zeros, in the one and the other.
            data = self.data[begin + offset : begin + end]
            self.hashes[name] = (kind, hashlib.sha256(data).hexdigest())

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (length,) = self.take("<Q")
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def skip(self, kind):
        if kind == 8:
            self.text()
        elif kind == 9:
            inner, count = self.take("<IQ")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += self.SIZES[kind]

    def info(self):
        name = self.text()
        (rank,) = self.take("<I")
        self.take(f"<{rank}Q")
        kind, offset = self.take("<IQ")
        return name, kind, offset


def run(command):
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {done.stderr.strip()[-2000:]}")
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default="q8_0,q4_0,q5_0,q4_k,q6_k")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--model", type=pathlib.Path)
    args = parser.parse_args()
    root = pathlib.Path(__file__).resolve().parents[2]
    ours = pathlib.Path(os.environ.get("BITQUILT", root / "target/release/bitquilt"))
    theirs = os.environ.get("LLAMA_QUANTIZE") or shutil.which("llama-quantize")
    if not ours.is_file():
        sys.exit(f"{ours} is missing: cargo build --release --bin bitquilt")
    if not theirs:
        print("llama-quantize is not installed, so there is no peer to compare with; LLAMA_QUANTIZE may name it")
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as directory:
        directory = pathlib.Path(directory)
        model = args.model or directory / "model.gguf"
        if not args.model:
            write_model(model, args.layers)
        megabytes = model.stat().st_size / 1e6
        print(f"| type | tensors that differ | cp s | llama-quantize s | bitquilt s | times llama-quantize | of cp's rate |\n|{'---|' * 7}")
        for kind in args.types.split(","):
            out = {who: directory / f"{who}.gguf" for who in ["cp", "theirs", "ours"]}
            pure = ["--pure", "--token-embedding-type", kind, "--output-tensor-type", kind]
            commands = {
                "cp": ["cp", model, out["cp"]],
                "theirs": [theirs, *pure, model, out["theirs"], kind],
                "ours": [ours, "--no-probe", "quantize", model, out["ours"], "--encoding", kind],
            }
            times = {who: [] for who in commands}
            for _ in range(args.rounds):
                for who, command in commands.items():
                    out[who].unlink(missing_ok=True)
                    times[who].append(run(command))
            left, right = Reader(out["theirs"]).hashes, Reader(out["ours"]).hashes
            differ = sum(left.get(name) != right.get(name) for name in left.keys() | right.keys())
            cp, them, us = (statistics.median(times[who]) for who in commands)
            row = [kind, f"{differ} of {len(left)}", *(f"{seconds:.2f}" for seconds in (cp, them, us))]
            print(f"| {' | '.join([*row, f'{them / us:.2f}', f'{cp / us:.2f}'])} |", flush=True)
        print(f"\nThe file has {megabytes:.0f} MB.")


if __name__ == "__main__":
    main()
