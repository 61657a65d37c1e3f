"""Encodings and ops that are written in Python, and encodings that are declared."""

import gc
import traceback
import weakref

import numpy as np
import pytest

import bitquilt as bq


class Int8:
    """A scale as f32, then a byte a value."""

    name, block_len, block_bytes, summary = "my.int8", 32, 36, "8 bits with a scale for each 32"

    def quantize(self, rows, importance):
        blocks = rows.reshape(-1, 32)
        scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
        codes = np.rint(blocks / np.where(scale == 0, 1, scale)).astype(np.int8)
        return np.hstack([scale.view(np.uint8), codes.view(np.uint8)])

    def dequantize(self, blocks):
        return np.ascontiguousarray(blocks[:, 4:]).view(np.int8) * np.ascontiguousarray(blocks[:, :4]).view(np.float32)


class Weighted(Int8):
    """What it is told of importance becomes the first byte of each block's scale."""

    name, importance = "my.weighted", "required"

    def quantize(self, rows, importance):
        assert importance.dtype == np.float32 and importance.shape == (rows.shape[1],)
        blocks = super().quantize(rows, None)
        blocks[:, 0] = np.tile(importance.reshape(-1, 32).max(1), rows.shape[0]).astype(np.uint8)
        return blocks


NF4 = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0,
       0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]  # fmt: skip


@pytest.fixture
def values(rng):
    return rng.standard_normal((48, 64)).astype(np.float32)


def test_an_encoding_works_wherever_others_do(session, values, tmp_path):
    session.register(Int8())
    assert session.encodings()["my.int8"][:6] == ("my.int8", 1, 32, 36, "ignored", Int8.summary)
    tensor = session.quantize("my.int8", values)
    decoded = bq.dequantize(tensor)
    np.testing.assert_allclose(decoded, values, atol=np.abs(values).max() / 200)
    with bq.Graph("own", [bq.TensorType("f32", ["batch", 64])], session) as graph:
        graph.output(bq.ops.qmatmul(graph[0], graph.quantize("my.int8", values)))
        graph.output(bq.ops.dequantize(graph.constant(bq.quantize("my.int8", values))))
    model = session.load(graph)
    results = model(np.eye(64, dtype=np.float32))
    np.testing.assert_allclose(results["output0"].T, decoded, rtol=1e-5)
    assert (results["output1"] == decoded).all()
    # A checkpoint, a saved graph, a whole file, a comparison.
    path = tmp_path / "own.safetensors"
    bq.checkpoint.save({"w": tensor}, path)
    assert bq.checkpoint.load(path, session=session)["w"] == tensor
    with pytest.raises(bq.CheckpointError, match="no encoding `my.int8` is registered"):
        bq.checkpoint.load(path, session=bq.InferenceSession())
    graph.save(tmp_path / "graph.safetensors")
    again = session.load(bq.Graph.load(tmp_path / "graph.safetensors", session))
    assert (again(np.eye(64, dtype=np.float32))["output0"] == results["output0"]).all()
    bq.checkpoint.save({"w": values}, tmp_path / "dense.safetensors")
    bq.quantize_file(tmp_path / "dense.safetensors", tmp_path / "out.safetensors", "my.int8", session=session)
    assert bq.checkpoint.load(tmp_path / "out.safetensors", session=session)["w"] == tensor
    found = bq.compare(tmp_path / "dense.safetensors", encodings=["my.int8", "q8_0"], session=session)
    assert found["my.int8"].total.rel_rms < 0.01


def test_a_weight_is_decoded_once_when_the_graph_is_loaded(session, values):
    calls = []

    class Counted(Int8):
        def dequantize(self, blocks):
            calls.append(len(blocks))
            return super().dequantize(blocks)

    session.register(Counted())
    graph = bq.Graph("own", [bq.TensorType("f32", [1, 64])], session)
    graph.output(bq.ops.qmatmul(graph[0], graph.quantize("my.int8", values)))
    model = session.load(graph)
    before = len(calls)
    for _ in range(5):
        model(np.ones((1, 64), np.float32))
    assert before and len(calls) == before


def test_importance_reaches_the_author(session, values):
    session.register(Weighted())
    with pytest.raises(bq.QuantizeError, match="`my.weighted` needs an importance vector"):
        session.quantize("my.weighted", values)
    # Importance is scaled by powers of four alone.
    blocks = session.quantize("my.weighted", values, np.repeat(np.float32([4, 16]), 32)).bytes.reshape(-1, 36)
    assert set(blocks[1::2, 0] // blocks[0::2, 0]) == {4}


def test_the_kit_finds_what_is_wrong():
    bq.testing.assert_conforms(Int8())

    class Random(Int8):
        def quantize(self, rows, importance):
            return np.random.default_rng().integers(0, 100, (rows.size // 32, 36), np.uint8)

    with pytest.raises(bq.ConformanceError, match="FAIL  encoding my.int8"):
        bq.testing.assert_conforms(Random())
    verdicts = {finding.verdict for finding in bq.testing.check(Int8())}
    assert verdicts <= {"pass", "skip"} and "pass" in verdicts


def test_exceptions_come_back_whole(session, values):
    class Broken(Int8):
        def quantize(self, rows, importance):
            raise ZeroDivisionError("the author divides")

    @bq.op("my.broken")
    def broken(x):
        return [][int(x[0, 0])]

    session.register(Broken(), broken)
    with pytest.raises(ZeroDivisionError, match="the author divides") as raised:
        session.quantize("my.int8", values)
    assert "`my.int8` failed on a tensor of shape [48, 64]" in raised.value.__notes__[0]
    assert any(frame.name == "quantize" for frame in traceback.extract_tb(raised.value.__traceback__))
    graph = bq.Graph("own", [bq.TensorType("f32", [1, 64])], session)
    graph.output(graph.op("my.broken", graph[0], name="the culprit"))
    model = session.load(graph)
    with pytest.raises(IndexError) as raised:
        model(np.ones((1, 64), np.float32))
    assert "node `the culprit` (my.broken): IndexError" in raised.value.__notes__[0]
    assert any(frame.name == "broken" for frame in traceback.extract_tb(raised.value.__traceback__))


def test_exceptions_of_infer_come_back_when_the_graph_is_built(session):
    def infer(x):
        raise LookupError("no such type")

    @bq.op("my.untyped", infer=infer)
    def untyped(x):
        return x

    session.register(untyped)
    graph = bq.Graph("own", [bq.TensorType("f32", [1, 64])], session)
    with pytest.raises(LookupError, match="no such type") as raised:
        untyped(graph[0])
    assert "(my.untyped)" in raised.value.__notes__[0]


WRONG_ANSWERS = [
    (lambda rows: rows, "what `quantize` of `my.int8` answers is f32"),
    (lambda rows: np.zeros(3, np.uint8), "3456 values of u8 were expected"),
    (lambda rows: None, "of type `NoneType`"),
    (lambda rows: np.zeros((48, 72), np.uint8).T, "not contiguous"),
]


@pytest.mark.parametrize(("answer", "sentence"), WRONG_ANSWERS)
def test_wrong_answers_are_refused(session, values, answer, sentence):
    class Wrong(Int8):
        def quantize(self, rows, importance):
            return answer(rows)

    session.register(Wrong())
    with pytest.raises(bq.Error, match=sentence):
        session.quantize("my.int8", values)


def test_what_is_no_encoding_is_not_registered(session):
    class NoName:
        block_len, block_bytes = 32, 36
        quantize = dequantize = None

    class BadName(Int8):
        name = "no name"

    class BadLength(Int8):
        block_len = "many"

    class BadImportance(Int8):
        importance = "sometimes"

    class Taken(Int8):
        name = "q4_0"

    for subject, sentence in [
        (object(), "`object` cannot be registered"),
        (NoName(), "`NoName` has no `name`"),
        (BadName(), "no name"),
        (BadLength(), "`BadLength.block_len` is 'many'; a number of values was expected"),
        (BadImportance(), "`importance` is `sometimes`"),
        (Taken(), "`q4_0`.*is already registered"),
    ]:
        with pytest.raises(bq.SessionError, match=sentence):
            session.register(subject)
        assert "my.int8" not in session.encodings()
    session.register(Int8())
    with pytest.raises(bq.SessionError, match="is already registered"):
        session.register(Int8())
    assert "my.int8" in session.encodings()


@bq.op("my.clamp")
def clamp(x, *, limit: float = 1.0):
    """Values between -limit and limit."""
    return np.clip(x, -limit, limit)


def test_an_op_has_attributes_and_several_outputs(session):
    def types(x, *, axis):
        rest = x.shape[:axis] + x.shape[axis + 1 :]
        return bq.TensorType(x.element, rest), bq.TensorType("i64", rest)

    @bq.op("my.extreme", infer=types)
    def extreme(x, *, axis: int):
        return x.max(axis), x.argmax(axis)

    session.register(clamp, extreme)
    assert (clamp(np.float32([3, -3]), limit=2.0) == [2, -2]).all()
    graph = bq.Graph("own", [bq.TensorType("f32", ["n", 3])], session)
    graph.output(clamp(graph[0], limit=2))
    graph.output(clamp(graph[0]))
    for value in extreme(graph[0], axis=1):
        graph.output(value)
    x = np.float32([[1, 5, 2], [-7, -8, 0.5]])
    results = session.load(graph)(x)
    assert (results["output0"] == np.clip(x, -2, 2)).all() and (results["output1"] == np.clip(x, -1, 1)).all()
    assert results["output2"].tolist() == [5, 0.5] and results["output3"].tolist() == [1, 2]
    for wrong, sentence in [
        (lambda: extreme(graph[0]), "axis"),
        (lambda: clamp(graph[0], limit="much"), "limit"),
        (lambda: clamp(graph[0], graph[0]), "inputs"),
    ]:
        with pytest.raises(bq.GraphError, match=sentence):
            wrong()
    bq.testing.assert_conforms(clamp)


def test_an_op_that_keeps_no_promise_is_refused(session):
    wrong = {
        "my.shape": (lambda x: x[:1], "is f32 \\[1, 3\\]; `infer` has announced f32 \\[2, 3\\]"),
        "my.dtype": (lambda x: x.astype(np.float64), "is f64"),
        "my.count": (lambda x: (x, x), "answers 2 arrays; `infer` has announced 1"),
        "my.none": (lambda x: None, "an array was expected"),
    }
    for name, (body, _) in wrong.items():
        session.register(bq.op(name)(body))
    for name, (_, sentence) in wrong.items():
        graph = bq.Graph("own", [bq.TensorType("f32", [2, 3])], session)
        graph.output(bq.ops[name](graph[0]))
        with pytest.raises(bq.Error, match=sentence):
            session.load(graph)(np.ones((2, 3), np.float32))
    for body, sentence in [
        (lambda *xs: xs, "takes `\\*xs`"),
        (lambda: 0, "has no inputs"),
        (lambda x, *, a: x, "needs an annotation"),
    ]:
        with pytest.raises(bq.SessionError, match=sentence):
            bq.op("my.bad")(body)


def test_arrays_that_a_body_keeps_stay_what_they_were(session):
    kept = []

    @bq.op("my.keep")
    def keep(x):
        kept.append(x)
        return x

    session.register(keep)
    graph = bq.Graph("own", [bq.TensorType("f32", [4])], session)
    graph.output(keep(graph[0] + 0))
    model = session.load(graph)
    for value in range(3):
        model(np.full(4, value, np.float32))
    del model
    gc.collect()
    assert [array[0] for array in kept] == [0, 1, 2]


def test_a_model_that_calls_itself_and_others(session):
    inner = bq.Graph("inner", [bq.TensorType("f32", [4])], session)
    inner.output(inner[0] * 2)
    doubled = session.load(inner)

    @bq.op("my.nested")
    def nested(x):
        bq.quantize("q8_0", np.ones((64, 1024), np.float32))
        return doubled(x)["output0"] + 1

    session.register(nested)
    graph = bq.Graph("outer", [bq.TensorType("f32", [4])], session)
    graph.output(nested(graph[0]))
    assert session.load(graph)(np.ones(4, np.float32))["output0"].tolist() == [3] * 4


def test_sessions_let_go_of_what_is_registered(values):
    class Mine(Int8):
        pass

    mine = Mine()
    dead = weakref.ref(mine)
    session = bq.InferenceSession()
    session.register(mine)
    session.quantize("my.int8", values)
    del mine, session
    gc.collect()
    assert dead() is None


def test_an_encoding_is_declared(session, values, tmp_path):
    nf4 = bq.encoding("my.nf4", 64, 4, values=NF4, summary="4-bit normal floats")
    assert (nf4.name, nf4.block_len, nf4.block_bytes, nf4.version) == ("my.nf4", 64, 34, 1)
    session.register(nf4)
    tensor = session.quantize("my.nf4", values)
    assert tensor.bytes.shape == (48, 34)
    rel = np.linalg.norm(bq.dequantize(tensor) - values) / np.linalg.norm(values)
    assert rel < 0.12
    # In a plugin directory, and in a checkpoint that says itself what its encoding is.
    (tmp_path / "plugins").mkdir()
    nf4.save(tmp_path / "plugins" / "my.nf4.encoding.toml")
    with bq.InferenceSession(plugin_dirs=[tmp_path / "plugins"], probe=False) as other:
        assert not other.refusals and bq.quantize("my.nf4", values) == tensor
    bq.checkpoint.save({"w": tensor}, tmp_path / "w.safetensors")
    loaded = bq.checkpoint.load(tmp_path / "w.safetensors")["w"]
    assert loaded == tensor and (loaded.dequantize() == bq.dequantize(tensor)).all()
    assert bq.Declaration.parse(nf4.to_text()).to_text() == nf4.to_text() and "codes" in nf4.describe()
    bq.testing.assert_conforms(nf4)
    for arguments, sentence in [
        ({"values": [1.0]}, "values"),
        ({"offset": 8, "values": NF4}, "offset|values"),
        ({"offset": 8, "scale": "f12"}, "`scale`: there is no dtype `f12`"),
        ({"offset": 8, "groups": 7}, "groups"),
        ({"bits": "f5", "offset": None}, "no float `f5`"),
        ({"bits": 400, "offset": 8}, "bits"),
    ]:
        with pytest.raises(bq.DeclarationError, match=sentence):
            bq.encoding(**{"name": "my.bad", "block_len": 64, "bits": 4} | arguments)
    grouped = bq.encoding("my.int4", 64, 4, offset=8, groups=2, min="f16", scale="bf16")
    assert grouped.block_bytes == 40
    bq.testing.assert_conforms(grouped)
    floats = bq.encoding("my.fp8", 32, "f8_e4m3", scale="e8m0")
    assert floats.block_bytes == 33
