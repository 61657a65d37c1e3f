#!/usr/bin/env bash
# The long run, about ten minutes on two cores: what `.ci/run` takes a seeded part of, and the plugin interface under valgrind.
#
#   tests/long_run.sh
#
# - the fault table, with 2,000 files that have a flipped bit in their headers, 2,000 in what the linker reads, and 800 with a hole;
# - 60 seconds of 8 threads that build graphs, load sessions and run models while plugins are loaded, without a wrong answer or a
#   byte lost;
# - loading, calling and failing across the plugin interface, in Rust and C, under valgrind, without an error (probes run outside).
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v valgrind >/dev/null; then
  echo "valgrind is missing: install the package valgrind" >&2
  exit 1
fi

step() { printf '\n== %s\n' "$*"; }

step "faults, probes and threads"
BITQUILT_LONG_RUN=1 cargo test -p bitquilt-tests --test faults --test probing --test stress

step "the plugin interface under valgrind"
host=$(rustc -vV | sed -n 's/^host: //p')
runner=CARGO_TARGET_$(tr 'a-z-' 'A-Z_' <<<"$host")_RUNNER
export "$runner=valgrind --quiet --error-exitcode=99 --fair-sched=yes"
cargo test -p bitquilt-plugin-api -p bitquilt-plugin-kit --lib
cargo test -p bitquilt-tests --test plugin_loading --test c_plugins
cargo test -p bitquilt-tests --test faults -- --test-threads=1 functions_that_fail plugins_that_break_the_contract
