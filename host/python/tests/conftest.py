"""What the tests share. They test the package that is installed, not the sources beside them."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading

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


class Interrupt:
    """SIGINT of a process that ``interrupted`` runs, also where whoever runs the tests has it ignored."""

    def __init__(self):
        self._lock, self._taken = threading.Lock(), threading.Event()
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, *_):
        self._taken.set()
        raise KeyboardInterrupt

    def wait(self):
        """Has the signal sent, and goes on when its handler was called."""
        with self._lock:
            if not self._taken.is_set():
                print("waits", flush=True)
                self._taken.wait()


@contextlib.contextmanager
def interrupted(program, *arguments):
    """A process of a program that waits by ``Interrupt.wait``, was sent SIGINT there, and has said that it was interrupted."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)}
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            yield process
        except BaseException:
            process.kill()
            raise
