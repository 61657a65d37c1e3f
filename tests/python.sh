#!/usr/bin/env bash
# Builds the wheel of the Python package into a fresh virtual environment, and tests it there.
#
#   tests/python.sh [PYTEST ARGUMENTS]
#
# PYTHON is the interpreter, 3.11 or newer. What cannot be installed besides NumPy leaves out the tests that need it, which say so.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=target/python
rm -rf "$venv"
"${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check maturin==1.16.0 -r host/python/tests/requirements.txt

BITQUILT_MATURIN="$PWD/$venv/bin/maturin" host/python/wheel.sh target/wheels
wheel=(target/wheels/bitquilt-*.whl)
bytes=$(wc -c < "${wheel[0]}")
echo "${wheel[0]}: $bytes bytes"
if ((bytes > 15000000)); then
  echo "the wheel has more than 15 MB" >&2
  exit 1
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "${wheel[0]}"

# The package that is installed is tested: the tests' own folder has none.
cd host/python/tests
"../../../$venv/bin/python" -m pytest -p no:cacheprovider -q "$@"
