"""Encodings that are chosen for models, and importance that is recorded of them."""

import json
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, interrupted

import bitquilt as bq

DATA = ROOT / "examples/models/tests/data/llama2c"


@pytest.fixture
def place(tmp_path):
    """A place with a small language model and a text."""
    for file in ("model.bin", "tokenizer.bin"):
        shutil.copy(DATA / file, tmp_path)
    (tmp_path / "text").write_text("Once upon a time there was a little lamp. " * 9)
    return tmp_path


def branches(session, width=64):
    """A graph of two products, of which the second counts a hundredth of the first; and inputs."""
    rng = np.random.default_rng(5)
    with bq.Graph("branches", {"x": bq.TensorType("f32", ["rows", width])}, session) as graph:
        (x,) = graph.inputs
        first, second = (graph.quantize("f32", rng.standard_normal((width, width)).astype(np.float32)) for _ in range(2))
        graph.output(bq.ops.qmatmul(x, first) + bq.ops.qmatmul(x, second) * np.float32(0.01), "y")
    return graph, [{"x": rng.standard_normal((3 + rows, width)).astype(np.float32)} for rows in range(2)]


def test_a_language_model_is_planned_and_made(place):
    told = []
    plan = bq.plan(
        place / "model.bin", text=place / "text", target_bpw=6, tokens=48, window=24, cache=place / "cache", save=place / "plan.toml",
        html=place / "plan.html", progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert 0.9 * plan.budget < plan.bytes <= plan.budget and (plan.measure, plan.count) == ("kl", 48)
    assert plan.source == str(place / "text") and plan.loss == min(mix.loss for mix in plan.mixes)
    assert plan.bytes == sum(weight.choice.bytes for weight in plan.weights)
    assert all(weight.choice in weight.choices for weight in plan.weights)
    assert plan.frontier == sorted(plan.frontier) and len(plan.frontier) > 3
    assert "sensitivity" in str(plan) and plan._repr_html_().startswith("<table>") and str(plan.bytes) in repr(plan)
    assert (place / "plan.toml").read_text() == plan.recipe and "<!doctype html>" in (place / "plan.html").read_text()
    stages = ["errors", "sensitivities", "candidates", "refinement"]
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == stages
    assert all(0 <= done <= of for _, done, of in told) and told[-1][1] == told[-1][2]
    # The same again comes from the cache, where there was nothing before: all probes are done when they begin.
    probed = [step for step in told if step[0] in ("sensitivities", "refinement")]
    assert ("sensitivities", 0) in [step[:2] for step in probed]
    told.clear()
    again = bq.plan(
        place / "model.bin", text=place / "text", target_bpw=6, tokens=48, window=24, cache=place / "cache",
        progress=lambda *step: told.append(step),
    )  # fmt: skip
    assert again == plan
    assert [step for step in told if step[0] in ("sensitivities", "refinement")] == [step for step in probed if step[1] == step[2]]
    # Other processes find the same.
    command = ["plan", place / "model.bin", "--text", place / "text", "--target-bpw", "6", "--tokens", "48", "--window", "24", "--json"]
    from bitquilt._helper import program

    done = subprocess.run([program(), *command, "--cache", place / "other"], capture_output=True, text=True, check=True)
    printed = json.loads(done.stdout)
    assert printed["total"]["loss"] == plan.loss and printed["total"]["bytes"] == plan.bytes
    assert {weight["name"]: weight["encoding"] for weight in printed["weights"]} == plan.encodings


def test_a_graph_is_planned(session, tmp_path):
    graph, inputs = branches(session)
    plan = bq.plan(graph, inputs=inputs, target_size=6700, encodings=["q8_0", "q4_0", "q2_k"], cache=False)
    names = list(plan.encodings)
    assert [plan.encodings[name] for name in names] == ["q8_0", "q4_0"] and plan.bytes == 64 * 64 // 32 * (34 + 18)
    assert (plan.measure, plan.source, plan.count, plan.model) == ("outputs", "arrays", 2, "the graph")
    # The loss is that of the graph with the weights that the plan has.
    graph.save(tmp_path / "graph.safetensors")
    for index, arrays in enumerate(inputs):
        np.savez(tmp_path / f"{index}.npz", **arrays)
    saved = bq.plan(tmp_path / "graph.safetensors", inputs=tmp_path, target_bpw=6.5, encodings=["q8_0", "q4_0"])
    assert list(saved.encodings.values()) == ["q8_0", "q4_0"] and saved.loss == plan.loss
    recipe = tmp_path / "fixed.toml"
    recipe.write_text(f'[[rule]]\nweights = "{names[0]}"\nencoding = "q4_0"\n')
    fixed = bq.plan(graph, inputs=inputs, target_bpw=6.5, encodings=["q8_0", "q4_0"], recipe=recipe, cache=False)
    assert fixed.encodings[names[0]] == "q4_0" and fixed.weights[0].reason == "a rule of the recipe"


class Rounded:
    """A scale and codes of 11 bits."""

    name, block_len, block_bytes = "my.rounded", 32, 48

    def quantize(self, rows, importance):
        blocks = rows.reshape(-1, 32).astype(np.float32)
        scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(1023)
        codes = np.rint(blocks / np.where(scale == 0, 1, scale)).astype(np.int16) + 1024
        packed = np.zeros((len(blocks), 48), np.uint8)
        packed[:, :4] = scale.view(np.uint8)
        bits = np.unpackbits(codes.astype(">u2").view(np.uint8).reshape(-1, 32, 2), axis=2)[:, :, 5:]
        packed[:, 4:] = np.packbits(bits.reshape(len(blocks), -1), axis=1)
        return packed

    def dequantize(self, blocks):
        scale = np.ascontiguousarray(blocks[:, :4]).view(np.float32)
        bits = np.unpackbits(np.ascontiguousarray(blocks[:, 4:]), axis=1).reshape(-1, 32, 11)
        codes = bits.astype(np.int32) @ (1 << np.arange(10, -1, -1, dtype=np.int32)) - 1024
        return (codes.astype(np.float32) * scale).astype(np.float32)


def test_encodings_in_python_take_part(session):
    session.register(Rounded())
    graph, inputs = branches(session)
    plan = bq.plan(graph, inputs=inputs, target_size=64 * 64 * 12 // 8 * 2, encodings=["q8_0", "my.rounded"], cache=False, session=session)
    assert set(plan.encodings.values()) == {"my.rounded"} and plan.loss < 1e-5
    everything = bq.plan(graph, inputs=inputs, target_bpw=12.5, cache=False, session=session)
    assert "my.rounded" in {choice.encoding for weight in everything.weights for choice in weight.choices}


def test_importance_is_recorded_merged_and_used(place, session):
    recorded = bq.importance(place / "model.bin", text=place / "text", tokens=48, window=24, save=place / "imatrix.gguf")
    assert len(recorded) == len(recorded.weights) > 0 and recorded.datasets == [str(place / "text")] and recorded.chunks == (2, 24)
    first = recorded.weights[0]
    assert first.rows == 48 and recorded[first.name].shape == (first.columns,) and first.name in recorded
    assert "largest / mean" in str(recorded) and recorded._repr_html_().startswith("<table>")
    with pytest.raises(KeyError):
        recorded["none"]
    both = bq.importance(merge=[place / "imatrix.gguf", recorded])
    assert [weight.rows for weight in both.weights] == [96] * len(recorded)
    assert np.allclose(both[first.name], recorded[first.name], rtol=1e-6)
    # What was recorded has the same bytes as its file and its arrays.
    plans = [
        bq.plan(place / "model.bin", text=place / "text", target_bpw=5, tokens=24, window=24, quick=True, cache=False, importance=given)
        for given in (recorded, place / "imatrix.gguf", [place / "imatrix.gguf"], {name: recorded[name] for name in recorded}, None)
    ]
    *plans, without = plans
    assert all(plan.loss == plans[0].loss for plan in plans) and without.loss != plans[0].loss
    # Recordings are equal if what they say is.
    again = bq.importance(place / "model.bin", text=place / "text", tokens=48, window=24)
    assert again == recorded and again is not recorded
    assert both != recorded and recorded != {name: recorded[name] for name in recorded}
    other = place / "other"
    other.write_text("The lamp was not a lamp. " * 9)
    assert bq.importance(merge=[recorded]) != bq.importance(place / "model.bin", text=other, tokens=48, window=24)

    graph, inputs = branches(session)
    told = []
    of_graph = bq.importance(graph, inputs=inputs, progress=lambda *step: told.append(step), session=session)
    expected = np.mean(np.square(np.concatenate([arrays["x"] for arrays in inputs]), dtype=np.float64), axis=0)
    assert told == [("sets of inputs", 1, 2), ("sets of inputs", 2, 2)] and len(of_graph) == 2
    assert all(np.allclose(of_graph[name], expected, rtol=1e-6) for name in of_graph)


def test_what_is_recorded_is_said_in_what_is_written(tmp_path):
    rng = np.random.default_rng(3)
    values = rng.standard_normal((8, 256)).astype(np.float32)
    bq.checkpoint.save({"up": values, "down": values}, tmp_path / "model.safetensors")
    with bq.Graph("up", {"x": bq.TensorType("f32", ["rows", 256])}) as graph:
        graph.output(bq.ops.qmatmul(graph.inputs[0], graph.quantize("f32", values)))
    (weight,) = bq.importance(graph, inputs=[{"x": np.ones((2, 256), np.float32)}])
    means = {"up": np.linspace(0.1, 1, 256, dtype=np.float32)}
    bq.checkpoint.save(means, tmp_path / "importance.safetensors")
    outputs = []
    for given in (means, tmp_path / "importance.safetensors"):
        with pytest.warns(bq.QuantizeWarning, match="encoded without importance.*`down`"):
            bq.quantize_file(tmp_path / "model.safetensors", tmp_path / "out.safetensors", "q4_k", importance=given)
        outputs.append(bq.checkpoint.load(tmp_path / "out.safetensors"))
    for out in outputs:
        assert out["up"] == bq.quantize("q4_k", values, means["up"]) and out["down"] == bq.quantize("q4_k", values)
        assert out.metadata["quantize.imatrix.entries_count"] == 1
    assert outputs[1].metadata["quantize.imatrix.file"] == str(tmp_path / "importance.safetensors")
    assert "quantize.imatrix.file" not in outputs[0].metadata and weight
    with pytest.warns(bq.QuantizeWarning, match="`q8_0` takes no account of importance"):
        bq.quantize_file(tmp_path / "model.safetensors", tmp_path / "out.safetensors", "q8_0", only="up", importance=means)
    with pytest.raises(bq.RewriteError, match="is the importance, which would be lost"):
        bq.quantize_file(
            tmp_path / "model.safetensors", tmp_path / "importance.safetensors", "q4_k", importance=tmp_path / "importance.safetensors"
        )


def test_a_plan_is_a_recipe(place, tmp_path):
    bq.checkpoint.save({"up": np.ones((8, 256), np.float32), "down": np.ones((8, 64), np.float32)}, tmp_path / "model.safetensors")

    class Found:
        recipe = '[[rule]]\nweights = "up"\nencoding = "q4_k"\n'

    report = bq.quantize_file(tmp_path / "model.safetensors", tmp_path / "out.safetensors", recipe=Found())
    assert {weight.name: weight.after for weight in report.weights} == {"up": "q4_k", "down": "f32"}


def test_a_plan_is_saved_whole_or_not_at_all(session, tmp_path):
    graph, inputs = branches(session)
    plan = bq.plan(graph, inputs=inputs, target_bpw=6, encodings=["q8_0", "q4_0"], cache=False)
    (tmp_path / "real.toml").write_text("longer than any recipe " * 99)
    (tmp_path / "plan.toml").symlink_to("real.toml")
    plan.save(tmp_path / "plan.toml")
    assert (tmp_path / "plan.toml").is_symlink() and (tmp_path / "real.toml").read_text() == plan.recipe
    with pytest.raises(bq.FileError, match="nowhere"):
        plan.save(tmp_path / "nowhere" / "plan.toml")
    assert sorted(os.listdir(tmp_path)) == ["plan.toml", "real.toml"]


def test_losses_that_are_no_numbers_in_json_are_infinite():
    mix = {"name": "searched", "bytes": 1, "bits": 1.0, "predicted_loss": None, "loss": None}
    plan = bq.Plan._of(
        {
            "file": "f", "measure": {"kind": "kl", "source": "s", "tokens": 2}, "target": {"bytes": 1}, "weights": [],
            "total": mix, "frontier": [mix], "candidates": [mix],
        },
        "",
    )  # fmt: skip
    assert plan.loss == plan.predicted_loss == plan.mixes[0].loss == plan.mixes[0].predicted_loss == math.inf
    assert plan.frontier == [(1, math.inf)] and "loss inf" in str(plan)


def test_wrong_arguments_are_sentences(place, session, tmp_path):
    graph, inputs = branches(session)
    model, text = place / "model.bin", place / "text"
    (place / "short").write_text("Once")
    (place / "none").mkdir()
    for error, sentence, arguments, options in [
        (bq.PlanError, "give `target_size`", (model,), {}),
        (bq.PlanError, "give `target_size`", (model,), {"target_size": 1, "target_bpw": 4}),
        (bq.PlanError, "`target_size` is 0 bytes", (model,), {"target_size": 0}),
        (bq.PlanError, "`target_bpw` is 99", (model,), {"target_bpw": 99}),
        (bq.PlanError, "`target_bpw` is NaN", (model,), {"target_bpw": float("nan")}),
        (bq.PlanError, "`tokens` is 1; 2 to", (model,), {"target_bpw": 4, "tokens": 1}),
        (bq.PlanError, "target of 100 bytes is below what is possible", (model,), {"target_size": 100, "tokens": 16, "cache": False}),
        (bq.PlanError, "list of names", (model,), {"target_bpw": 4, "encodings": "q4_0"}),
        (bq.PlanError, "is a graph: give `inputs`", (graph,), {"target_bpw": 4}),
        (bq.PlanError, "is a graph: give `inputs`", (graph,), {"target_bpw": 4, "text": text, "inputs": inputs}),
        (bq.PlanError, "one set was given", (graph,), {"target_bpw": 4, "inputs": inputs[0]}),
        (bq.PlanError, "no inputs to measure", (graph,), {"target_bpw": 4, "inputs": [], "cache": False}),
        (bq.PlanError, "is no graph", (model,), {"target_bpw": 4, "inputs": inputs}),
        (bq.CompareError, "none", (graph,), {"target_bpw": 4, "inputs": place / "none"}),
        (bq.ModelError, "the text has 6 tokens, 16 at least .* or a smaller window", (model,), {"target_bpw": 4, "text": place / "short", "tokens": 16}),
        (bq.UnknownEncodingError, "no encoding `q9`", (model,), {"target_bpw": 4, "encodings": ["q9"], "tokens": 16, "cache": False}),
        (bq.FileError, "save: .* is what is read", (model,), {"target_bpw": 4, "save": model}),
        (bq.FileError, "html: .* is what is read", (model,), {"target_bpw": 4, "text": text, "html": text}),
        (bq.FileError, "save and html are both", (model,), {"target_bpw": 4, "save": place / "x", "html": place / "x"}),
        (bq.Error, "nowhere", (place / "nowhere",), {"target_bpw": 4}),
        (bq.RecipeError, "the recipe", (model,), {"target_bpw": 4, "recipe": place / "nowhere"}),
        (bq.TensorError, "the input `x` is of type `str`", (graph,), {"target_bpw": 4, "inputs": [{"x": "text"}]}),
        (bq.ImportanceError, "of `up` has -1 at column 0", (model,), {"target_bpw": 4, "importance": {"up": np.float32([-1])}}),
        (bq.PlanError, "^`target_size` is -1; a whole number of bytes, 0 to 18446744073709551615, was expected$", (model,), {"target_size": -1}),
        (bq.PlanError, f"^`target_size` is {2**70}; a whole number of bytes, 0 to", (model,), {"target_size": 2**70}),
        (bq.PlanError, "^`target_size` is an integer of 20001 bits; a whole number", (model,), {"target_size": 1 << 20000}),
        (bq.PlanError, "^`target_size` is 1000.0; a whole number of bytes was expected$", (model,), {"target_size": 1e3}),
        (bq.PlanError, "^`target_size` is True; a whole number", (model,), {"target_size": True}),
        (bq.PlanError, "^`target_size` is of type `ndarray`; a whole number", (model,), {"target_size": np.ones(2)}),
        (bq.PlanError, "^`target_bpw` is '4'; a number of bits was expected$", (model,), {"target_bpw": "4"}),
        (bq.PlanError, "^`target_bpw` is of type `int`; a number of bits", (model,), {"target_bpw": 10**400}),
        (bq.PlanError, "^`tokens` is -1; a whole number of tokens, 0 to", (model,), {"target_bpw": 4, "tokens": -1}),
        (bq.PlanError, "^`tokens` is of type `NoneType`; a whole number of tokens", (model,), {"target_bpw": 4, "tokens": None}),
        (bq.PlanError, "^`window` is 2.5; a whole number of tokens", (model,), {"target_bpw": 4, "window": 2.5}),
        (bq.PlanError, r"^`inputs\[0\]` is of type `ndarray`; a mapping of arrays by the names", (graph,), {"target_bpw": 4, "inputs": [inputs[0]["x"]]}),
        (bq.PlanError, r"^`inputs\[1\]` has a key that is 3; names of inputs were expected$", (graph,), {"target_bpw": 4, "inputs": [inputs[0], {3: 4}]}),
        (bq.PlanError, "^`inputs` is 3; a directory, or a list of sets of arrays, was expected$", (graph,), {"target_bpw": 4, "inputs": 3}),
        (bq.PlanError, "^`model` is 3; a path or a `Graph` was expected$", (3,), {"target_bpw": 4}),
        (bq.PlanError, "^`text` is 3; a path was expected$", (model,), {"target_bpw": 4, "text": 3}),
        (bq.PlanError, "^`text` is of type `bytes`; a path", (model,), {"target_bpw": 4, "text": b"text"}),
        (bq.PlanError, "^`cache` is of type `NoneType`; a path, True or False was expected$", (model,), {"target_bpw": 4, "cache": None}),
        (bq.PlanError, "^`recipe` is of type `dict`; a path was expected$", (model,), {"target_bpw": 4, "recipe": {}}),
        (bq.PlanError, "^`encodings` is 3; a list of names was expected$", (model,), {"target_bpw": 4, "encodings": 3}),
        (bq.PlanError, r"^`encodings\[1\]` is 4; a text was expected$", (model,), {"target_bpw": 4, "encodings": ["q4_0", 4]}),
        (bq.PlanError, "^`progress` is True; a function was expected$", (model,), {"target_bpw": 4, "progress": True}),
        (bq.ImportanceError, "^`importance` is 3; a path, several, arrays by the names of weights, or", (model,), {"target_bpw": 4, "importance": 3}),
        (bq.ImportanceError, r"^`importance\[0\]` is 3; a path was expected$", (model,), {"target_bpw": 4, "importance": [3]}),
        (bq.ImportanceError, "^`importance` has a key that is 3; names of weights", (model,), {"target_bpw": 4, "importance": {3: 4}}),
    ]:
        with pytest.raises(error, match=sentence):
            bq.plan(*arguments, **options)
    for error, sentence, arguments, options in [
        (bq.ImportanceError, "nothing to record", (), {}),
        (bq.ImportanceError, "give `text` for a language model", (model,), {}),
        (bq.ImportanceError, "is a graph", (graph,), {"text": text}),
        (bq.ImportanceError, "is a language model", (model,), {"inputs": inputs}),
        (bq.ImportanceError, "`kv` is `f64`", (model,), {"text": text, "kv": "f64"}),
        (bq.ImportanceError, "`precision` is 'good'", (model,), {"text": text, "precision": "good"}),
        (bq.ImportanceError, "a list", (), {"merge": place / "x"}),
        (bq.ImportanceError, "no inputs", (graph,), {"inputs": []}),
        (bq.FileError, "save: .* is what is read", (model,), {"text": text, "save": text}),
        (bq.RunError, "the graph has no input `z`", (graph,), {"inputs": [{"z": np.ones((1, 64), np.float32)}]}),
        (bq.ImportanceError, "^`merge` is 3; a list of paths, or of what `importance` has answered, was expected$", (), {"merge": 3}),
        (bq.ImportanceError, r"^`merge\[0\]` is 3; a path, several, arrays", (), {"merge": [3]}),
        (bq.ImportanceError, "^`tokens` is -1; a whole number of tokens, 0 to", (model,), {"text": text, "tokens": -1}),
        (bq.ImportanceError, "^`window` is '9'; a whole number of tokens was", (model,), {"text": text, "window": "9"}),
        (bq.ImportanceError, r"^`inputs\[0\]` is of type `ndarray`; a mapping", (graph,), {"inputs": [inputs[0]["x"]]}),
        (bq.ImportanceError, "^`inputs` is 3; a directory", (graph,), {"inputs": 3}),
        (bq.ImportanceError, "^`kv` is 16; 'f32' or 'f16' was expected$", (model,), {"text": text, "kv": 16}),
        (bq.ImportanceError, "^`precision` is 1; 'fast' or 'exact' was expected$", (model,), {"text": text, "precision": 1}),
        (bq.ImportanceError, "^`model` is 3; a path or a `Graph`", (3,), {"text": text}),
        (bq.ImportanceError, "^`save` is 3; a path was expected$", (model,), {"text": text, "save": 3}),
    ]:
        with pytest.raises(error, match=sentence):
            bq.importance(*arguments, **options)
    bq.checkpoint.save({"up": np.ones((8, 64), np.float32)}, place / "up.safetensors")
    for error, sentence, options in [
        (bq.RecipeError, "^`recipe` is of type `dict`; the path of a TOML file, or what `plan` has answered, was expected$", {"recipe": {}}),
        (bq.RecipeError, "^`encoding` is 3; a name, or a mapping of names by glob, was expected$", {"encoding": 3}),
        (bq.RecipeError, "^`encoding` has a part that is 4; names by glob", {"encoding": {"*": 4}}),
        (bq.RecipeError, "^`only` is 3; a glob was expected$", {"encoding": "q8_0", "only": 3}),
        (bq.RecipeError, "^`exclude` is a list of globs, one text was given$", {"encoding": "q8_0", "exclude": "up"}),
        (bq.RecipeError, "^`exclude` is 3; a list of globs was expected$", {"encoding": "q8_0", "exclude": 3}),
        (bq.RecipeError, "^`fallback` is 3; a name was expected$", {"encoding": "q8_0", "fallback": 3}),
        (bq.ImportanceError, "^`importance` is 3; a path", {"encoding": "q8_0", "importance": 3}),
        (bq.RewriteError, "^`format` is 3; 'safetensors', 'gguf' or 'npz' was expected$", {"encoding": "q8_0", "format": 3}),
        (bq.RewriteError, "^`split` is -1; a whole number of bytes, 0 to", {"encoding": "q8_0", "split": -1}),
    ]:
        with pytest.raises(error, match=sentence):
            bq.quantize_file(place / "up.safetensors", place / "x", **options)
    for error, sentence, options in [
        (bq.CompareError, "^`encodings` is 3; a list of names was expected$", {"encodings": 3}),
        (bq.CompareError, r"^`encodings\[0\]` is 3; a text was expected$", {"encodings": [3]}),
        (bq.CompareError, "^`only` is 3; a glob was expected$", {"encodings": ["q8_0"], "only": 3}),
        (bq.ImportanceError, r"^`importance\[0\]` is 3; a path was expected$", {"encodings": ["q8_0"], "importance": [3]}),
    ]:
        with pytest.raises(error, match=sentence):
            bq.compare(place / "up.safetensors", **options)
    assert text.read_text().startswith("Once upon") and not (place / "x").exists()


def test_what_progress_raises_comes_back(session):
    graph, inputs = branches(session)

    def stop(stage, done, of):
        if stage == "sensitivities":
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        bq.plan(graph, inputs=inputs, target_bpw=5, cache=False, progress=stop)


SEARCH = """
import sys, numpy as np, bitquilt as bq
from conftest import Interrupt
interrupt, again = Interrupt(), []
rng = np.random.default_rng(0)
with bq.Graph("layers", {"x": bq.TensorType("f32", ["rows", 64])}) as graph:
    (value,) = graph.inputs
    for layer in range(12):
        value = bq.ops.silu(bq.ops.qmatmul(value, graph.quantize("f32", rng.standard_normal((64, 64)).astype(np.float32) / 7)))
    graph.output(value)
def search(progress):
    inputs = [{"x": np.ones((8, 64), np.float32)}]
    return bq.plan(graph, inputs=inputs, target_bpw=4.6, encodings=["q4_0", "q5_0", "q8_0"], cache=sys.argv[1], progress=progress)
try:
    search(lambda stage, done, of: interrupt.wait() if (stage, done) == (STAGE, 1) else None)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.readline()
search(lambda *step: again.append(step))
print(*next((done, of) for stage, done, of in again if stage == "sensitivities"))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX")
@pytest.mark.parametrize("stage", ["errors", "sensitivities"])
def test_an_interrupted_search_stops_and_goes_on_from_what_it_has_measured(stage, tmp_path):
    with interrupted(SEARCH.replace("STAGE", repr(stage)), tmp_path) as process:
        # What was measured is there for the next search.
        (cache,) = tmp_path.glob("*.figures")
        measured = cache.read_text()
        print(file=process.stdin, flush=True)
        done, of = map(int, process.stdout.readline().split())
    assert process.returncode == 0
    assert len(measured.splitlines()) > 1 and cache.read_text().startswith(measured)
    # The weights whose sensitivity was known: some if it was stopped among them, and not all.
    assert of == 12 and (done == 0 if stage == "errors" else 0 < done < of)
