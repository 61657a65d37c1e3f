#!/usr/bin/env bash
# Fuzzes a target for some seconds: usage run.sh TARGET [SECONDS]. The targets are decode and quantize, whose new inputs join the
# corpus that the tests replay, and the readers (safetensors, gguf, npy, npz, graph, importance, plugin, llama2c, tokenizer, decoder, saved,
# recipe, template), whose inputs that fail belong into ../regressions/TARGET.
#
# libFuzzer with stable Rust: the coverage is LLVM's, and what a sanitizer would watch, the guard pages do.
set -euo pipefail
cd "$(dirname "$0")"
target=$1
seconds=${2:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT
case $target in
# The longest input holds a block of every format.
decode) longest=430 corpus=corpus/decode ;;
quantize) longest=2050 corpus=corpus/quantize ;;
*)
  longest=200000 corpus=$found/corpus
  mkdir -p "$corpus"
  cargo build -q --workspace --manifest-path ../../../Cargo.toml --bin corpus
  ../../../target/debug/corpus "$target" "$corpus"
  ;;
esac
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
RUSTFLAGS="$coverage" cargo build --release --target "$host" --bin "$target"
binary=target/$host/release/$target
mkdir -p "$corpus" "$found/new"
# An input that fails is written here as crash-*, timeout-* or oom-*.
"$binary" -max_total_time="$seconds" -max_len="$longest" -len_control=0 -timeout=60 -rss_limit_mb=4096 -print_final_stats=1 \
  "$found/new" "$corpus"
case $target in decode | quantize)
  # What joins reaches code that nothing else does; how often it does is no reason.
  "$binary" -merge=1 -use_counters=0 "$corpus" "$found/new"
  ;;
esac
