#!/usr/bin/env bash
# Runs tests of the formats, the kernels and the standard ops as aarch64 code, in an emulator: NEON beside the scalar reference, and the
# bytes and values that ggml has on x86. On Debian: apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
# The tests have four minutes; with --long there is no limit, and the tests of all formats and kernels run, too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"

# What each line runs: a package, its targets, and after -- the names of tests.
table="
bitquilt-simd --lib
bitquilt-ggml-blocks --test edges --test golden
bitquilt-qmatmul --lib
bitquilt --lib -- ops::arch:: ops::append:: ops::arithmetic:: ops::cast:: ops::greatest:: ops::rope:: ops::softmax:: norm::
"
limit=240
if [ "${1:-}" = --long ]; then
  limit=0
  table+="
bitquilt-ggml-blocks --lib --test parity
bitquilt-qmatmul --test parity
bitquilt --lib -- ops::
"
fi

run_table() {
  grep . <<<"$table" | while read -r line; do
    # shellcheck disable=SC2086
    cargo test -q --target "$target" -p $line </dev/null
  done
}
export -f run_table
export table target

# Built beforehand, so that the limit is the emulator's alone.
grep . <<<"$table" | while read -r line; do
  # shellcheck disable=SC2086
  cargo test -q --no-run --target "$target" -p ${line%% -- *} </dev/null
done
timeout "$limit" bash -euo pipefail -c run_table || {
  echo "the tests failed, or took longer than $limit seconds" >&2
  exit 1
}
