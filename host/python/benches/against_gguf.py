#!/usr/bin/env python3
"""Times quantizing and decoding beside the package `gguf`, the cost of a call, of a run, of the import, and the size of a wheel.

    host/python/benches/against_gguf.py [--rows 1024] [--columns 4096] [--rounds 5] [--types Q4_0,Q4_K] [--wheel FILE]

What is printed, as a Markdown table, are millions of values a second in the quickest of the rounds, and the ratio.
One thread each: the script sets the variables that say so before it imports anything. Needs `gguf`.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import time

for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import gguf  # noqa: E402
import numpy as np  # noqa: E402

import bitquilt as bq  # noqa: E402


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def quickest(call, rounds):
    call()
    return min(seconds(call) for _ in range(rounds))


def implemented(call, *arguments):
    try:
        return call(*arguments)
    except NotImplementedError:
        return None


def cell(count, ours, theirs):
    """Millions of values a second of both, and how many times as fast ours is."""
    speed = f"{count / ours / 1e6:9.1f}"
    return f"{speed} | {'-':>9} | {'-':>7}" if theirs is None else f"{speed} | {count / theirs / 1e6:9.1f} | {theirs / ours:6.1f}x"


def formats(options):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((options.rows, options.columns)).astype(np.float32)
    few = values[: max(1, options.rows // 64)]
    ones = np.ones(options.columns, np.float32)
    print("| type | quantize, M/s | gguf | ratio | decode, M/s | gguf | ratio |\n|---|---|---|---|---|---|---|")
    for qtype in options.types:
        name = bq.gguf.TYPES[qtype]
        importance = ones if bq.encodings()[name].importance == "required" else None
        has_theirs = implemented(gguf.quantize, few, qtype) is not None
        # What searches for its bytes takes some rows alone.
        rows = values if has_theirs else few
        ours = quickest(lambda: bq.gguf.quantize(rows, qtype, importance=importance), options.rounds)
        theirs = quickest(lambda: gguf.quantize(rows, qtype), options.rounds) if has_theirs else None
        blocks = np.array(bq.gguf.quantize(few, qtype, importance=importance))
        blocks = np.tile(blocks, (len(values) // len(few), 1))
        # As `gguf.GGUFReader` gives them, which need not be copied before they are decoded.
        blocks.flags.writeable = False
        has_theirs = implemented(gguf.dequantize, blocks[:1], qtype) is not None
        count = len(blocks) * options.columns
        decoded = quickest(lambda: bq.gguf.dequantize(blocks, qtype), options.rounds)
        theirs_decoded = quickest(lambda: gguf.dequantize(blocks, qtype), options.rounds) if has_theirs else None
        print(f"| {qtype.name:7} | {cell(rows.size, ours, theirs)} | {cell(count, decoded, theirs_decoded)} |", flush=True)


def calls():
    small = np.ones((32, 64), np.float32)
    session = bq.InferenceSession(threads=1)
    graph = bq.Graph("small", [bq.TensorType("f32", [32, 64])], session)
    graph.output(bq.ops.qmatmul(graph[0], graph.quantize("q8_0", small)))
    model = session.load(graph)
    f16 = bq.quantize("f16", small)
    timed = {
        "quantize('f16', [32, 64])": lambda: bq.quantize("f16", small),
        "quantize('q8_0', [32, 64])": lambda: bq.quantize("q8_0", small),
        "dequantize, f16 [32, 64]": lambda: bq.dequantize(f16),
        "model(x), [32, 64] x [32, 64]": lambda: model(small),
    }
    for name, call in timed.items():
        call()
        batches = [seconds(lambda call=call: [call() for _ in range(1000)]) for _ in range(7)]
        print(f"{name}: {statistics.median(batches) * 1e3:.1f} us a call")


def imports():
    """Milliseconds that the import takes beyond NumPy's."""
    program = "import time, numpy; begin = time.perf_counter(); import bitquilt; print(time.perf_counter() - begin)"
    times = [float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout) for _ in range(7)]
    print(f"import: {statistics.median(times) * 1e3:.1f} ms beyond NumPy's")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    every = ",".join(it.name for it in gguf.GGMLQuantizationType if it in bq.gguf.TYPES and it.name != "F32")
    parser.add_argument("--types", default=every)
    parser.add_argument("--wheel", type=pathlib.Path)
    options = parser.parse_args()
    options.types = [gguf.GGMLQuantizationType[name] for name in options.types.split(",")]
    if options.wheel:
        print(f"wheel: {options.wheel.stat().st_size / 1e6:.2f} MB")
    imports()
    calls()
    formats(options)


if __name__ == "__main__":
    main()
