"""What the package is: its stubs, its documentation, how long it takes to import."""

import pathlib
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import bitquilt as bq


def run(*command, **options):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, **options)


def test_stubs_are_what_is_there():
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = run("-m", "mypy.stubtest", "bitquilt", "--ignore-disjoint-bases")
    assert done.returncode == 0, done.stdout


def test_the_package_is_typed():
    assert (pathlib.Path(bq.__file__).parent / "py.typed").exists()
    pytest.importorskip("mypy", reason="mypy is not installed")
    done = run("-m", "mypy", "--strict", "-p", "bitquilt", cwd="/")
    assert done.returncode == 0, done.stdout


def test_all_that_is_public_is_there_and_documented():
    for name in bq.__all__:
        subject = getattr(bq, name)
        assert subject.__doc__, name
        assert type(subject).__module__ != "bitquilt._native" or subject.__doc__


def test_the_documentation_runs(tmp_path):
    text = (ROOT / "host/python/README.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) >= 3
    done = run("-W", "error", "-c", "\n".join(programs), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(32, 32) [4.80")


def test_the_docstrings_run():
    done = run("-c", "import bitquilt, doctest; assert doctest.testmod(bitquilt).attempted; assert not doctest.testmod(bitquilt).failed")
    assert done.returncode == 0, done.stderr


def test_nothing_but_numpy_is_needed():
    program = "import sys, numpy; sys.modules['ml_dtypes'] = sys.modules['gguf'] = None; import bitquilt as bq; print(len(bq.encodings()))"
    done = run("-c", program)
    assert done.returncode == 0 and int(done.stdout) >= 27, done.stderr
    program = "import sys; sys.modules['ml_dtypes'] = None; import bitquilt as bq, numpy as np; t = bq.quantize('bf16', np.ones((1, 4), np.float32)); print(bq.dequantize(t).sum())"
    assert run("-c", program).stdout == "4.0\n"
