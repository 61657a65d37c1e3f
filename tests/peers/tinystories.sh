#!/usr/bin/env bash
# Compares the example tinystories with llama.cpp on the same files, in turn: prefill of 512 tokens, decode of 128, the time from start
# to the first token, and peak memory. Prints a Markdown table of medians, and how much better bitquilt is: above 1 is better in all columns.
# The columns "better peer" are against llama.cpp or ik_llama.cpp, whichever is quicker; ik_llama.cpp is not run, see IK.
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

# The rates of ik_llama.cpp over those of llama.cpp, measured with SmolLM2-135M on another machine (Xeon, Emerald Rapids):
# by encoding and threads, of prefill and decode.
IK = {
    "Q4_0": {1: (463 / 374, 97 / 67), 2: (905 / 607, 212 / 140)},
    "Q4_1": {1: (570 / 125, 59 / 50), 2: (881 / 214, 124 / 91)},
    "Q4_K": {1: (430 / 246, 50 / 48), 2: (929 / 418, 98 / 100)},
    "Q6_K": {1: (417 / 263, 47 / 45), 2: (736 / 434, 83 / 74)},
    "Q8_0": {1: (410 / 248, 66 / 42), 2: (763 / 398, 169 / 70)},
}

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
    # Such as "llama 135M Q4_K - Medium".
    encodings.update({model: word for word in rates[0]["model_type"].split() if word in IK})
    return [rates[0]["avg_ts"], rates[1]["avg_ts"], start, memory]

def own(model, count):
    text = run(ours, "bench", "--model", model, "--threads", count, "-p", "512", "-n", "128", "-r", "1")[0]
    rates = [float(re.search(rf"{what}.*: ([0-9.]+) tokens/s", text)[1]) for what in ("prefill", "decode")]
    _, start, memory = run(ours, "--model", model, "--raw", "-n", "1", "--threads", count, "--context", "512")
    return rates + [start, memory]

def better_peer(model, count, column, ratio):
    ik = IK.get(encodings.get(model), {}).get(int(count))
    return f"{ratio / max(1, ik[column]):.2f}x" if ik else "?"

encodings = {}
columns = ["model", "threads", "prefill t/s", "better peer", "decode t/s", "better peer", "first token s", "memory MB"]
print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
for model in models:
    for count in threads:
        samples = [(own(model, count), peer(model, count)) for _ in range(rounds)]
        cells = [Path(model).name, count]
        for column, higher in enumerate((True, True, False, False)):
            a, b = (statistics.median(pair[side][column] for pair in samples) for side in (0, 1))
            ratio = a / b if higher else b / a
            cells.append(f"{a:.4g} / {b:.4g} = {ratio:.2f}x")
            if higher:
                cells.append(better_peer(model, count, column, ratio))
        print("| " + " | ".join(cells) + " |", flush=True)
PYTHON
