#!/usr/bin/env bash
# The GGML formats against ggml itself: the same bytes and values, then how long both take, in turn on one thread.
# usage: tests/peers/quantize.sh [check|time] [arguments of plugins/ggml-blocks/examples/against_ggml]
#
# The library is $GGML_BASE, or is built once from the source that the package llama-cpp-python 0.3.36 carries (ggml 0.25.3),
# for baseline x86-64, so that no fused multiply-add contributes to a byte. Weights of models/, where they are, are checked, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
what=${1:-all}
shift || true

library=${GGML_BASE:-}
if [ -z "$library" ]; then
  cache=${XDG_CACHE_HOME:-$HOME/.cache}/bitquilt-ggml
  library=$cache/libggml-base.so
  if [ ! -f "$library" ]; then
    mkdir -p "$cache"
    pip download -q --no-deps --no-binary llama-cpp-python --dest "$cache" llama-cpp-python==0.3.36
    tar -xzf "$cache/llama_cpp_python-0.3.36.tar.gz" -C "$cache" --wildcards '*/vendor/llama.cpp/ggml/*'
    ggml=$cache/llama_cpp_python-0.3.36/vendor/llama.cpp/ggml
    flags=(-O3 -DNDEBUG -D_GNU_SOURCE -DGGML_BUILD -DGGML_SHARED -fPIC -I"$ggml/include" -I"$ggml/src" -I"$cache")
    printf '#define GGML_VERSION "0.25.3"\n#define GGML_COMMIT "unknown"\n' >"$cache/ggml-version.h"
    objects=()
    for source in "$ggml"/src/*.c "$ggml"/src/{ggml,ggml-backend,ggml-backend-meta,ggml-opt,ggml-threading,gguf}.cpp; do
      object=$cache/$(basename "$source").o
      case $source in
        *.c) cc -std=gnu11 "${flags[@]}" -c "$source" -o "$object" ;;
        *) c++ -std=gnu++17 "${flags[@]}" -c "$source" -o "$object" ;;
      esac
      objects+=("$object")
    done
    c++ -shared "${objects[@]}" -lm -lpthread -o "$library.part"
    mv "$library.part" "$library"
  fi
fi

cargo build --release -q -p bitquilt-ggml-blocks --example against_ggml
if [ "$what" != time ]; then
  weights=()
  minilm=models/all-MiniLM-L6-v2.safetensors
  smollm=models/SmolLM2-135M-Instruct.Q4_1.gguf
  if [ -f "$minilm" ]; then weights+=("$minilm"); fi
  if [ -f "$smollm" ]; then
    decoded=$(mktemp -d)
    trap 'rm -rf "$decoded"' EXIT
    cargo run --release -q -p bitquilt-cli -- dequantize "$smollm" "$decoded/smollm.safetensors" >&2
    weights+=("$decoded/smollm.safetensors")
  fi
  GGML_NO_BACKTRACE=1 target/release/examples/against_ggml check "$library" "${weights[@]}" "$@" | grep -v '^Oops'
fi
if [ "$what" != check ]; then
  target/release/examples/against_ggml time "$library" "$@"
fi
