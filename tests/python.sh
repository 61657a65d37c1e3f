#!/usr/bin/env bash
# Lays the Python package into a fresh virtual environment, and tests it there.
#
#   tests/python.sh [--development] [PYTEST ARGUMENTS]
#
# It is the wheel, which is a build of its own; with --development it is the development build of `cargo test --workspace`, of which
# only the extension module is compiled anew, laid out as the wheel's installer does. What needs Ray is then left out.
#
# PYTHON is the interpreter, 3.11 or newer. NumPy, pytest and, for the wheel, maturin are needed; where another requirement of the tests
# cannot be installed, the tests that need it are skipped, and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
is_wheel=1
if [ "${1:-}" = --development ]; then
  is_wheel=
  shift
fi
target=${CARGO_TARGET_DIR:-target}
venv=$target/python
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
# Its whole path, as other directories need it: that of the target directory may be whole or begin here.
python=$(cd "$venv/bin" && pwd)/python
install() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }

# Versions of NumPy and pytest are those that the tests are written for, whatever else there is.
mapfile -t requirements < <(grep -v '^#' host/python/tests/requirements.txt)
if [ $is_wheel ]; then
  requirements+=(maturin==1.16.0)
else
  mapfile -t requirements < <(printf '%s\n' "${requirements[@]}" | grep -v '^ray')
fi
if ! install "${requirements[@]}"; then
  mapfile -t needed < <(printf '%s\n' "${requirements[@]}" | grep -E '^(numpy|pytest|maturin)==')
  install "${needed[@]}"
  for requirement in "${requirements[@]}"; do
    install "$requirement" "${needed[@]}" || echo "$requirement could not be installed: tests that need it are skipped" >&2
  done
fi

if [ $is_wheel ]; then
  BITQUILT_MATURIN="$(dirname "$python")/maturin" host/python/wheel.sh target/wheels
  wheel=(target/wheels/bitquilt-*.whl)
  bytes=$(wc -c < "${wheel[0]}")
  echo "${wheel[0]}: $bytes bytes"
  install --no-deps "${wheel[0]}"
else
  # A test among the targets has cargo choose the features that `cargo test --workspace` chooses: all but the extension and PyO3 is there
  # already. `-p bitquilt-python` would choose others, and compile everything.
  cargo build --workspace --lib --bins --test guard
  packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
  cp -R host/python/python/bitquilt "$packages/"
  library=$(ls "$target"/debug/libbitquilt_python.{so,dylib} 2>/dev/null || true)
  cp "$library" "$packages/bitquilt/_native.abi3.so"
  cp "$target/debug/bitquilt" "$venv/bin/"
fi

# The package that is installed is tested: the tests' own folder has none.
cd host/python/tests
"$python" -m pytest -p no:cacheprovider -q "$@"
if ((${bytes:-0} > 15000000)); then
  echo "the wheel has more than 15 MB" >&2
  exit 1
fi
