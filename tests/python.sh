#!/usr/bin/env bash
# Builds the wheel of the Python package into a fresh virtual environment, and tests it there.
#
#   tests/python.sh [PYTEST ARGUMENTS]
#
# PYTHON is the interpreter, 3.11 or newer. maturin, NumPy and pytest are needed; where another requirement of the tests cannot be
# installed, the tests that need it are skipped, and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
requirements=host/python/tests/requirements.txt
venv=target/python
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
install() { "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
if ! install maturin==1.16.0 -r "$requirements"; then
  mapfile -t needed < <(grep -E '^(numpy|pytest)==' "$requirements")
  install maturin==1.16.0 "${needed[@]}"
  grep -v '^#' "$requirements" | while read -r requirement; do
    install "$requirement" "${needed[@]}" || echo "$requirement could not be installed: tests that need it are skipped" >&2
  done
fi

BITQUILT_MATURIN="$PWD/$venv/bin/maturin" host/python/wheel.sh target/wheels
wheel=(target/wheels/bitquilt-*.whl)
bytes=$(wc -c < "${wheel[0]}")
echo "${wheel[0]}: $bytes bytes"
if ((bytes > 15000000)); then
  echo "the wheel has more than 15 MB" >&2
  exit 1
fi
install --no-deps "${wheel[0]}"

# The package that is installed is tested: the tests' own folder has none.
python=$PWD/$venv/bin/python
cd host/python/tests
"$python" -m pytest -p no:cacheprovider -q "$@"
