#!/usr/bin/env bash
# Runs tests of the formats, the kernels, the standard ops and sessions as an old and a middling x86 machine, in an emulator: Nehalem
# has SSE4.2 and nothing of AVX, Haswell has AVX2 and nothing of AVX-512. On Debian: apt-get install qemu-user
# Each machine has four minutes; with --long there is no limit, and the tests of all formats and kernels run, too.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
export BITQUILT_EMULATED=1
if [ "$(rustc --print host-tuple)" != "$target" ]; then
  echo "this machine is not $target: code for old x86 machines is not run" >&2
  exit 1
fi

# The tests of a line: targets, and after -- the names. They are the workspace's, as its test command has built them.
table="
--test edges --test kernels
--lib -- isa:: lanes:: f32_kernel:: arch:: activation:: ops::append:: ops::arithmetic:: ops::cast:: ops::greatest:: ops::rope:: ops::softmax:: norm::
"
limit=240
if [ "${1:-}" = --long ]; then
  limit=0
  table+="
--test golden --test parity --test generic --test accuracy --test slices
--lib -- ops:: affine:: codebook:: unpack:: drive:: --skip every_promise
"
fi

run_table() {
  grep . <<<"$table" | while read -r line; do
    # shellcheck disable=SC2086
    cargo test -q --workspace $line </dev/null
  done
  $CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER "${CARGO_TARGET_DIR:-target}/debug/examples/quickstart"
}
export -f run_table
export table

# Built beforehand, so that the limit is the emulator's alone.
grep . <<<"$table" | while read -r line; do
  # shellcheck disable=SC2086
  cargo test -q --workspace --no-run ${line%% -- *} </dev/null
done
cargo build -q --workspace --example quickstart

as_machine() {
  export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu $1"
  has=$(cargo run -q -p bitquilt-simd --example available)
  if [ "$has" != "$2" ]; then
    echo "emulated as $1 the machine has the instruction sets \"$has\", not \"$2\"" >&2
    exit 1
  fi
  echo "as $1, which has $has"
  timeout "$limit" bash -euo pipefail -c run_table || {
    echo "as $1: the tests failed, or took longer than $limit seconds" >&2
    exit 1
  }
}
as_machine Nehalem "scalar"
as_machine Haswell,-invpcid,-rtm,-hle "scalar avx2"
