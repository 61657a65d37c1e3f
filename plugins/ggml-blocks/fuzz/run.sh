#!/usr/bin/env bash
# Fuzzes a target for some seconds: usage run.sh decode|quantize [SECONDS]. New inputs join the corpus, which the tests replay.
#
# libFuzzer with stable Rust: the coverage is LLVM's, and what a sanitizer would watch, the guard pages do.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
seconds=${2:-60}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
RUSTFLAGS="$coverage" cargo build --release --target "$(rustc -vV | sed -n 's/^host: //p')" --bin "$target"
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
mkdir -p "corpus/$target"
binary=target/$(rustc -vV | sed -n 's/^host: //p')/release/$target
# The longest input holds a block of every format. An input that fails is written here as crash-*.
case $target in decode) longest=430 ;; *) longest=2050 ;; esac
"$binary" -max_total_time="$seconds" -max_len="$longest" -len_control=0 -print_final_stats=1 "$found" "corpus/$target"
# What joins reaches code that nothing else does; how often it does is no reason.
"$binary" -merge=1 -use_counters=0 "corpus/$target" "$found"
