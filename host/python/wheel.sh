#!/usr/bin/env bash
# Builds the wheel of the Python package, with the command `bitquilt` in it, and says where it is.
#
#   host/python/wheel.sh [OUT]     the directory that it goes to, target/wheels if it is not given
#
# Needs maturin, which BITQUILT_MATURIN names if it is not on the PATH. Where advzip (of the package advancecomp) is there, the wheel is
# compressed better than zlib can, in the same format.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=${1:-target/wheels}
maturin=${BITQUILT_MATURIN:-maturin}
target=${CARGO_TARGET_DIR:-target}

cargo build --profile wheel -p bitquilt-cli
# What the wheel installs beside `python`.
scripts=host/python/data/scripts
mkdir -p "$scripts"
suffix=
if [ -f "$target/wheel/bitquilt.exe" ]; then suffix=.exe; fi
cp "$target/wheel/bitquilt$suffix" "$scripts/bitquilt$suffix"
rm -f "$out"/bitquilt-*.whl
"$maturin" build --profile wheel --compression-level 9 --manifest-path host/python/Cargo.toml --out "$out"
if command -v advzip >/dev/null; then
  advzip --quiet --recompress --shrink-normal "$out"/bitquilt-*.whl
fi
