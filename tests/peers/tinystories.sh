#!/usr/bin/env bash
# Compares the example tinystories with llama.cpp on the same files, in turn: prefill of 512 tokens, decode of 128, the time from start
# to the first token, and peak memory. Prints medians and the ratio of bitquilt to llama.cpp; above 1 is better for bitquilt in all columns.
#
#   tests/peers/tinystories.sh LLAMA_CPP_BIN MODEL.gguf...
#
# LLAMA_CPP_BIN is the directory with llama-bench and llama-completion. THREADS="1 2", ROUNDS=3 and TINYSTORIES=PATH may be set.
set -euo pipefail
bin=$1
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
tinystories=${TINYSTORIES:-$root/target/release/examples/tinystories}
rounds=${ROUNDS:-3}
python3 - "$bin" "$tinystories" "$rounds" "${THREADS:-1 2}" "$@" <<'PYTHON'
import json, re, resource, statistics, subprocess, sys, time
from pathlib import Path

bin, ours, rounds, threads, models = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split(), sys.argv[5:]

def run(*command):
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    output = process.stdout.read().decode(errors="replace")
    _, status, usage = __import__("os").wait4(process.pid, 0)
    assert status == 0, command
    return output, time.perf_counter() - begin, usage.ru_maxrss * 1024 / 1e6

def peer(model, count):
    rates = json.loads(run(bin / "llama-bench", "-m", model, "-p", "512", "-n", "128", "-t", count, "-r", "1", "-o", "json")[0])
    _, start, memory = run(bin / "llama-completion", "-m", model, "-p", "Once upon a time", "-n", "1", "-t", count, "-c", "512",
                           "-no-cnv", "--no-warmup")
    return [rates[0]["avg_ts"], rates[1]["avg_ts"], start, memory]

def own(model, count):
    text = run(ours, "bench", "--model", model, "--threads", count, "-p", "512", "-n", "128", "-r", "1")[0]
    rates = [float(re.search(rf"{what}.*: ([0-9.]+) tokens/s", text)[1]) for what in ("prefill", "decode")]
    _, start, memory = run(ours, "--model", model, "--raw", "-n", "1", "--threads", count, "--context", "512")
    return rates + [start, memory]

print(f"{'model':32} {'threads':>7}  {'prefill t/s':>20}  {'decode t/s':>20}  {'first token s':>20}  {'memory MB':>20}")
for model in models:
    for count in threads:
        samples = [(own(model, count), peer(model, count)) for _ in range(rounds)]
        columns = []
        for column, higher in enumerate((True, True, False, False)):
            a, b = (statistics.median(pair[side][column] for pair in samples) for side in (0, 1))
            columns.append(f"{a:7.4g}/{b:<7.4g}{a / b if higher else b / a:4.2f}x")
        print(f"{Path(model).name:32} {count:>7}  " + "  ".join(f"{text:>20}" for text in columns), flush=True)
PYTHON
