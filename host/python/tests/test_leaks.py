"""Many calls leave nothing behind."""

import gc
import sys

import numpy as np
import pytest
from conftest import resident

import bitquilt as bq

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")


def test_100000_calls_stay_within_two_megabytes():
    values = np.ones((2, 64), np.float32)
    session = bq.InferenceSession(threads=1)
    graph = bq.Graph("small", [bq.TensorType("f32", ["batch", 64])], session)
    graph.output(bq.ops.qmatmul(graph[0], graph.quantize("q8_0", values)))
    model = session.load(graph)

    def call(times):
        for _ in range(times):
            tensor = bq.quantize("q4_0", values)
            model(values)
            tensor.bytes, tensor.shape  # noqa: B018
            try:
                bq.quantize("q4_9", values)
            except bq.UnknownEncodingError:
                pass

    call(2000)
    gc.collect()
    before = resident()
    call(100_000)
    gc.collect()
    assert resident() - before < 2 << 20


def test_exceptions_of_authors_and_graphs_are_let_go():
    class Broken:
        name, block_len, block_bytes = "my.broken", 4, 16

        def quantize(self, rows, importance):
            memory = np.zeros(1 << 16, np.uint8)
            raise ValueError("no", memory)

        dequantize = quantize

    session = bq.InferenceSession(threads=1)
    session.register(Broken())
    values = np.ones((2, 4), np.float32)

    def call(times):
        for _ in range(times):
            with pytest.raises(ValueError, match="no"):
                session.quantize("my.broken", values)
            graph = bq.Graph("g", [bq.TensorType("f32", [2, 4])], session)
            graph.output(graph[0] + values)
            session.load(graph)(values)

    call(200)
    gc.collect()
    before = resident()
    call(2000)
    gc.collect()
    assert resident() - before < 2 << 20
