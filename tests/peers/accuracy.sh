#!/usr/bin/env bash
# The RMS error of qmatmul's `fast` products beside that of ggml's kernels, on the same encoded weights and activations: for ten
# random weights, and for a matrix of models/ where it is. Ends with 1 where ours is more than 1.02 times ggml's.
# usage: tests/peers/accuracy.sh [arguments of plugins/kernels/examples/errors_beside_ggml]
#
# $GGML_LIBRARIES is the directory of libggml-base.so and libggml-cpu.so, by default that of the llama.cpp below $BITQUILT_PEERS
# (~/.cache/bitquilt-peers). A machine without them is told so: there is nothing to compare with.
set -euo pipefail
cd "$(dirname "$0")/../.."

peers=${BITQUILT_PEERS:-$HOME/.cache/bitquilt-peers}
libraries=${GGML_LIBRARIES:-$(echo "$peers"/llama_cpp_python-*/vendor/llama.cpp/build/bin)}
if [ ! -f "$libraries/libggml-cpu.so" ]; then
  echo "$libraries/libggml-cpu.so is missing, so there is no peer to compare with; set GGML_LIBRARIES to its directory"
  exit 0
fi

cargo build --release -q -p bitquilt-qmatmul --example errors_beside_ggml
status=0
target/release/examples/errors_beside_ggml "$libraries" "$@" || status=1
minilm=models/all-MiniLM-L6-v2.safetensors
if [ -f "$minilm" ]; then
  matrix=encoder.layer.0.output.dense.weight
  printf '\n%s of %s\n' "$matrix" "$minilm"
  target/release/examples/errors_beside_ggml "$libraries" "$@" --weight "$minilm" "$matrix" || status=1
fi
exit $status
