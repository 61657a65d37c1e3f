#!/usr/bin/env bash
# How long tinystories takes to decode a token, against the sum of its kernels: each product with a weight as `bitquilt bench qmatmul`
# times it alone, with weights that are as cold as the model's, and all other kernels as the profile of the step has them. The two are
# taken in turn; medians. What is above 1 is lost between kernels, or because one is in the other's way.
#
#   tests/decode_step.sh MODEL.gguf...
#
# THREADS="1 2", ROUNDS=3, TINYSTORIES=PATH and BITQUILT=PATH may be set. Exits with 1 if a ratio is above LIMIT=1.15.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bitquilt=${BITQUILT:-$root/target/release/bitquilt}
tinystories=${TINYSTORIES:-$root/target/release/examples/tinystories}
python3 - "$bitquilt" "$tinystories" "${ROUNDS:-3}" "${THREADS:-1 2}" "${LIMIT:-1.15}" "$@" <<'PYTHON'
import collections, json, re, statistics, subprocess, sys
from pathlib import Path

bitquilt, tinystories = sys.argv[1:3]
rounds, threads, limit, models = int(sys.argv[3]), sys.argv[4].split(), float(sys.argv[5]), sys.argv[6:]

def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout, done.stderr

def products(model):
    """How many weights of each encoding and shape a token is multiplied with, and the megabytes of all."""
    tensors = json.loads(run(bitquilt, "inspect", model, "--json")[0])["tensors"]
    matrices = [tensor for tensor in tensors if len(tensor["shape"]) == 2]
    # The embedding is the classifier, too, where there is no other.
    untied = any(tensor["name"] == "output.weight" for tensor in matrices)
    matrices = [tensor for tensor in matrices if not (untied and tensor["name"] == "token_embd.weight")]
    counts = collections.Counter((tensor["element"], *tensor["shape"]) for tensor in matrices)
    return counts, sum(tensor["bytes"] for tensor in matrices) >> 20

def alone(shape, cold, count):
    """Microseconds of one product, its input's transform included."""
    encoding, n, k = shape
    rows = run(bitquilt, "--no-probe", "bench", "qmatmul", "--encoding", encoding, "--m", "1", "--n", str(n), "--k", str(k),
               "--threads", count, "--cold-mb", str(cold), "--seconds", "0.2", "--json")[0]
    return json.loads(rows)[0]["median_us"]

def bench(model, count, *more):
    return run(tinystories, "bench", "--model", model, "--threads", count, "-p", "0", "-n", "128", "-r", "2", *more)

def step(model, count):
    return 1e6 / float(re.search(r"decode.*: ([0-9.]+) tokens/s", bench(model, count)[0])[1])

def others(model, count, products):
    """Microseconds of a step that are not of products, and those by which transforms that products share are fewer than products."""
    table = bench(model, count, "--profile")[1]
    runs = int(re.search(r"^(\d+) runs of", table, re.MULTILINE)[1])
    rest = shared = 0
    for op, nodes, total, mean in re.findall(r"^(\S+(?: \(input\))?) .*?(\d+) +\d+ +([0-9.]+) +[0-9.]+% +([0-9.]+) ", table, re.MULTILINE):
        if op == "qmatmul (input)":
            shared = (products - int(nodes)) * float(mean)
        elif op != "qmatmul":
            rest += 1e3 * float(total) / runs
    return rest - shared

print("| model | threads | step us | kernels us | of which products | ratio |\n|---|---|---|---|---|---|")
worst = 0
for model in models:
    shapes, cold = products(model)
    for count in threads:
        samples = []
        for _ in range(rounds):
            sum_alone = sum(times * alone(shape, cold, count) for shape, times in shapes.items())
            samples.append((step(model, count), sum_alone, others(model, count, shapes.total())))
        whole, multiplied, rest = (statistics.median(column) for column in zip(*samples))
        ratio = whole / (multiplied + rest)
        worst = max(worst, ratio)
        print(f"| {Path(model).name} | {count} | {whole:.0f} | {multiplied + rest:.0f} | {multiplied:.0f} | {ratio:.2f} |", flush=True)
if worst > limit:
    sys.exit(f"a step takes {worst:.2f} times what its kernels take alone, more than {limit}")
PYTHON
