"""Several threads, interrupts, and what is changed meanwhile."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import interrupted

import bitquilt as bq


def product(session, rows=256, width=256):
    weight = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    graph = bq.Graph("product", [bq.TensorType("f32", ["batch", width])], session)
    graph.output(bq.ops.qmatmul(graph[0], graph.quantize("q8_0", weight)))
    return session.load(graph)


def test_a_model_is_used_from_many_threads(session):
    model = product(session)
    inputs = [np.random.default_rng(seed).standard_normal((1 + seed % 3, 256)).astype(np.float32) for seed in range(64)]
    expected = [model(x)["output0"] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for found, y in zip(pool.map(lambda x: model(x)["output0"], inputs), expected, strict=True):
                assert (found == y).all()


def test_a_state_is_one_threads_at_a_time(session):
    begun, go = threading.Event(), threading.Event()

    @bq.op("my.wait")
    def wait(x):
        begun.set()
        go.wait()
        return x

    session.register(wait)
    graph = bq.Graph("waits", [bq.TensorType("f32", [1])], session)
    graph.output(wait(graph[0]))
    state = session.load(graph).new_state()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(state, np.ones(1, np.float32))
        first.add_done_callback(lambda _: begun.set())
        begun.wait()
        try:
            with pytest.raises(bq.RunError, match="in use by another thread"):
                state(np.ones(1, np.float32))
        finally:
            go.set()
        assert first.result()["output0"] == [1]


def test_python_runs_while_work_is_done():
    """The interpreter's lock is released: a thread of Python counts while arrays are quantized, decoded, loaded and run."""
    counted = [0]
    stop = threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0)

    values = np.random.default_rng(0).standard_normal((512, 1024)).astype(np.float32)
    tensor = bq.quantize("q4_k", values)
    session = bq.InferenceSession()
    model = product(session, 2048, 2048)
    x = np.ones((64, 2048), np.float32)
    thread = threading.Thread(target=count)
    thread.start()
    try:
        for work in (lambda: bq.quantize("q4_k", values), lambda: bq.dequantize(tensor), lambda: model(x), lambda: product(session, 1024, 1024)):
            before = counted[0]
            # Where the lock were held there would be one switch between calls at the most.
            calls = 0
            while counted[0] - before <= 3 * calls + 3:
                work()
                calls += 1
                assert calls < 1000
    finally:
        stop.set()
        thread.join()


INTERRUPTED = """
import numpy as np, bitquilt as bq
from conftest import Interrupt
interrupt, encoded = Interrupt(), []

class Waits:
    name, block_len, block_bytes = "my.waits", 32, 1
    def quantize(self, rows, importance):
        encoded.append(len(rows))
        interrupt.wait()
        return np.zeros((rows.size // 32, 1), np.uint8)
    def dequantize(self, blocks):
        return np.zeros((len(blocks), 32), np.float32)

values = np.ones((4096, 1024), np.float32)
session = bq.InferenceSession(threads=2)
session.register(Waits())
try:
    WORK
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(sum(encoded))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
@pytest.mark.parametrize(
    "work",
    [
        "bq.quantize('my.waits', values, session=session)",
        "session.quantize('my.waits', values)",
        "bq.Graph('g', (), session).quantize('my.waits', values)",
    ],
)
def test_an_interrupt_stops_a_long_quantize(work):
    with interrupted(INTERRUPTED.replace("WORK", work)) as process:
        rows = int(process.stdout.readline())
    assert process.returncode == 0 and 0 < rows < 4096


def test_an_array_that_is_changed_meanwhile_is_an_exception_or_an_answer():
    values = np.ones((256, 1024), np.float32)
    stop = threading.Event()

    def change():
        patterns = [np.float32(1), np.float32(np.nan), np.float32(3e38), np.float32(1e-40)]
        index = 0
        while not stop.is_set():
            values[:, index % 1024 :: 7] = patterns[index % 4]
            index += 1

    session = bq.InferenceSession(threads=2)
    model = product(session, 64, 1024)
    thread = threading.Thread(target=change)
    thread.start()
    outcomes = set()
    try:
        for _ in range(20):
            for name in ("q4_0", "q4_k", "iq4_nl", "q8_0", "mxfp4", "iq3_s"):
                try:
                    outcomes.add(bq.quantize(name, values).shape)
                except bq.QuantizeError:
                    outcomes.add("refused")
            assert model(values)["output0"].shape == (256, 64)
    finally:
        stop.set()
        thread.join()
    assert outcomes <= {(256, 1024), "refused"}
