#!/usr/bin/env bash
# Runs tests of the formats, the kernels and the standard ops as aarch64 code, in an emulator: NEON beside the scalar reference, and the
# bytes and values that ggml has on x86. On Debian: apt-get install qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
# The tests have four minutes; with --long there is no limit, and the tests of all formats and kernels run, too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
export BITQUILT_EMULATED=1
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu"

# The tests of a line: targets, and after -- the names. One selection of packages serves all, so that each is compiled once.
packages="-p bitquilt-simd -p bitquilt-plugin-api -p bitquilt-ggml-blocks -p bitquilt-declared -p bitquilt-kernels -p bitquilt-qmatmul -p bitquilt"
table="
--test edges --test golden
--lib -- abi::golden:: isa:: lanes:: control:: f32_kernel:: arch:: activation:: unpack:: ops::append:: ops::arithmetic:: ops::cast:: ops::greatest:: ops::rope:: ops::softmax:: norm::
"
limit=240
if [ "${1:-}" = --long ]; then
  limit=0
  table+="
--test parity
--lib -- ops:: --skip every_promise
"
fi

run_table() {
  grep . <<<"$table" | while read -r line; do
    # shellcheck disable=SC2086
    cargo test -q --target "$target" $packages $line </dev/null
  done
}
export -f run_table
export table target packages

# Built beforehand, so that the limit is the emulator's alone.
grep . <<<"$table" | while read -r line; do
  # shellcheck disable=SC2086
  cargo test -q --no-run --target "$target" $packages ${line%% -- *} </dev/null
done
timeout "$limit" bash -euo pipefail -c run_table || {
  echo "the tests failed, or took longer than $limit seconds" >&2
  exit 1
}
