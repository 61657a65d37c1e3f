#!/usr/bin/env bash
# Runs the tests of the formats, the kernels and the standard ops as aarch64 code, in an emulator: NEON beside the scalar reference,
# and the bytes and values that ggml has on x86. On Debian: apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"
cargo test --target "$target" -p bitquilt-ggml-blocks -p bitquilt-qmatmul --lib --test golden --test edges --test parity
cargo test --target "$target" -p bitquilt --lib ops::
