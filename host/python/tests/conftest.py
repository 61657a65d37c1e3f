"""What the tests share. They test the package that is installed, not the sources beside them."""

import os
import pathlib

import numpy as np
import pytest

import bitquilt as bq

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def session():
    with bq.InferenceSession(threads=2) as session:
        yield session


@pytest.fixture(scope="session")
def golden():
    """Bytes and values that ggml wrote."""
    return bq.checkpoint.load(ROOT / "plugins/ggml-blocks/testdata/ggml.safetensors")


@pytest.fixture(autouse=True)
def _own_caches(tmp_path_factory, monkeypatch):
    """Verdicts of probes are kept for the length of a test run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def address(array):
    """Where an array's first value is."""
    return array.__array_interface__["data"][0]


def resident():
    """Bytes of this process that are in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
