"""Warnings name the line that called the package."""

import shutil
import warnings

import numpy as np
import pytest
from conftest import ROOT

import bitquilt as bq

LOST = np.vstack([np.ones((1, 32), np.float32), np.full((1, 32), 1e-30, np.float32)])
MEANS = {"up": np.ones(256, np.float32)}
MODEL, TEXT = "model.bin", "text"
# Importance of the model, which has none of its embedding, and of another.
OWN, OTHER = "own.gguf", "other.gguf"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A place with a language model, a text, and two weights, of which one has importance; and importance of models."""
    monkeypatch.chdir(tmp_path)
    for file in (MODEL, "tokenizer.bin"):
        shutil.copy(ROOT / "examples/models/tests/data/llama2c" / file, tmp_path)
    (tmp_path / TEXT).write_text("Once upon a time there was a little lamp. " * 9)
    weight = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    bq.checkpoint.save({"up": weight, "down": weight}, "weights.safetensors")
    bq.importance(MODEL, text=TEXT, tokens=8, window=8, save=OWN)
    with bq.Graph("other", {"x": bq.TensorType("f32", ["rows", 256])}) as graph:
        graph.output(bq.ops.qmatmul(graph.inputs[0], graph.quantize("f32", weight)))
    bq.importance(graph, inputs=[{"x": weight}], save=OTHER)


# Each is one line, which is the one that a warning has to name.
WORKS = {
    "quantize": lambda: bq.quantize("q4_0", LOST),
    "InferenceSession.quantize": lambda: bq.current_session().quantize("q4_0", LOST),
    "Graph.quantize": lambda: bq.Graph("g", ()).quantize("q4_0", LOST),
    "gguf.quantize": lambda: bq.gguf.quantize(LOST, "Q4_0"),
    "quantize_file": lambda: bq.quantize_file("weights.safetensors", "out.safetensors", "q4_k", importance=MEANS),
    "compare": lambda: bq.compare("weights.safetensors", encodings=["q4_k"], importance=MEANS),
    "plan": lambda: bq.plan(MODEL, text=TEXT, target_bpw=5, tokens=8, window=8, quick=True, encodings=["q4_0", "q8_0"], cache=False, importance=OWN),
    "importance": lambda: bq.importance(MODEL, text=TEXT, tokens=8, window=8, merge=[OTHER]),
}


@pytest.mark.parametrize("name", WORKS)
def test_a_warning_names_the_line_of_the_call(name):
    work = WORKS[name]
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        work()
    assert record and all(it.category is bq.QuantizeWarning for it in record)
    assert {(it.filename, it.lineno) for it in record} == {(__file__, work.__code__.co_firstlineno)}
