#!/usr/bin/env python3
"""Times qmatmul beside ggml's mul_mat, in turns, and prints how many times as fast it is.

    tests/peers/qmatmul.py [--encoding q4_0,q4_k] [--m 1,8,32,512] [--shape 4096:4096] [--threads 1,2] [--cold-mb 0] [--rounds 7]
                           [--json FILE]

Each round runs ggml, plain and repacked, and then bitquilt; what is printed, as a Markdown table, are medians over the rounds, of
ggml's quicker buffer, and the smallest and the largest ratio of a round. `--json` adds a line of JSON for each row to a file, so
that runs of a few encodings each make one table. Needs `bitquilt` (built with `cargo build --release -p bitquilt-cli`, or named by
BITQUILT) and a directory with the program `qbench`, linked to ggml: BITQUILT_PEERS, by default ~/.cache/bitquilt-peers.
`qbench -t THREADS -T TYPES -s N:K:M -c COLD_MB -r SECONDS -R RUNS -M 1` is to time ggml_mul_mat of a weight of N rows of K values and
M columns, and print a line a case: type, buffer, n, k, m, threads, mode, copies, runs, smallest and median time in us, and more. A
machine without it is told so, and the script ends with 0: there is nothing to compare with.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys

ENCODINGS = "q4_0,q4_1,q5_0,q5_1,q8_0,q2_k,q3_k,q4_k,q5_k,q6_k,iq4_nl,bf16,f16,f32"
SECONDS = "0.03"  # of a case in a round


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoding", default=ENCODINGS)
    parser.add_argument("--m", default="1,8,32,512")
    parser.add_argument("--shape", default="4096:4096", help="rows of the weight and values of a row, N:K")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--cold-mb", default="0")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=pathlib.Path)
    return parser.parse_args()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
    return done.stdout


def ggml(qbench, args, encoding):
    """Median us by (m, threads), of the quicker buffer."""
    n, k = args.shape.split(":")
    shapes = ",".join(f"{n}:{k}:{m}" for m in args.m.split(","))
    options = ["-t", args.threads, "-T", encoding, "-s", shapes, "-c", args.cold_mb, "-r", SECONDS, "-R", "3", "-M", "1"]
    times = {}
    for line in run([qbench, *options]).splitlines():
        words = line.split()
        if len(words) > 10 and words[0].lower() == encoding:
            case = (words[4], words[5])
            times[case] = min(times.get(case, float("inf")), float(words[10]))
    return times


def bitquilt(program, args, encoding):
    """The rows of `bitquilt bench qmatmul` by (m, threads)."""
    n, k = args.shape.split(":")
    options = ["--encoding", encoding, "--m", args.m, "--n", n, "--k", k, "--threads", args.threads]
    options += ["--cold-mb", args.cold_mb, "--seconds", SECONDS, "--csv"]
    rows = csv.DictReader(run([program, "--no-probe", "bench", "qmatmul", *options]).splitlines())
    return {(row["m"], row["threads"]): row for row in rows}


def main():
    args = arguments()
    root = pathlib.Path(__file__).resolve().parents[2]
    program = pathlib.Path(os.environ.get("BITQUILT", root / "target/release/bitquilt"))
    peers = pathlib.Path(os.environ.get("BITQUILT_PEERS", pathlib.Path.home() / ".cache/bitquilt-peers"))
    if not program.is_file():
        sys.exit(f"{program} is missing: cargo build --release -p bitquilt-cli")
    if not (peers / "qbench").is_file():
        print(f"{peers / 'qbench'} is missing, so there is no peer to compare with; set BITQUILT_PEERS to its directory")
        return
    heading = ["encoding", "n:k", "cold MB", "m", "threads", "ggml us", "ours us", "times", "least", "most"]
    heading += ["GFLOP/s", "GB/s", "roofline"]
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}", flush=True)
    for encoding in args.encoding.split(","):
        theirs, ours = [], []
        for _ in range(args.rounds):
            theirs.append(ggml(peers / "qbench", args, encoding))
            ours.append(bitquilt(program, args, encoding))
        for case in (case for case in ours[0] if case in theirs[0]):
            median = lambda name: statistics.median(float(row[case][name]) for row in ours)
            them, us = statistics.median(times[case] for times in theirs), median("median_us")
            ratios = [times[case] / float(row[case]["median_us"]) for times, row in zip(theirs, ours)]
            values = [encoding, args.shape, args.cold_mb, *case, round(them, 1), round(us, 1), round(them / us, 2)]
            values += [round(min(ratios), 2), round(max(ratios), 2), round(median("gflops")), round(median("gb_s"), 1)]
            values += [round(median("roofline_share"), 2)]
            print(f"| {' | '.join(map(str, values))} |", flush=True)
            if args.json:
                with args.json.open("a") as file:
                    print(json.dumps(dict(zip(heading, values))), file=file)


if __name__ == "__main__":
    main()
