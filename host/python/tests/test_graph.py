"""Graphs, models, states, plans."""

import numpy as np
import pytest

import bitquilt as bq


def ffn(session, width=64, hidden=96):
    rng = np.random.default_rng(1)
    up, down = (rng.standard_normal(shape).astype(np.float32) / 8 for shape in ((hidden, width), (width, hidden)))
    with bq.Graph("ffn", [bq.TensorType("f32", ["batch", width])], session) as graph:
        (x,) = graph.inputs
        h = bq.ops.silu(bq.ops.qmatmul(x, graph.quantize("q8_0", up), name="up")) * 2
        graph.output(bq.ops.qmatmul(h, graph.constant(bq.quantize("q8_0", down)), name="down"))
    return graph, up, down


def test_the_ten_lines(session):
    graph, up, down = ffn(session)
    model = session.load(graph)
    x = np.random.default_rng(2).standard_normal((3, 64)).astype(np.float32)
    y = model(x)["output0"]
    h = x @ up.T
    np.testing.assert_allclose(y, (h / (1 + np.exp(-h)) * 2) @ down.T, atol=0.15)
    assert y.flags.writeable and y.flags.owndata
    for same in (model(input0=x), model.execute("input0", x), model.execute({"input0": x}), model.new_state()(x), model(bq.Tensor(x))):
        assert (same["output0"] == y).all()
    assert model.inputs == {"input0": bq.TensorType("f32", ["batch", 64])}
    assert model.outputs == {"output0": bq.TensorType("f32", ["batch", 64])}


def test_operators_are_ops(session):
    a, b = np.float32([[1, 2], [3, 4]]), np.float32([[5, 6], [7, 9]])
    graph = bq.Graph("operators", {"a": bq.TensorType("f32", [2, 2])}, session)
    x = graph["a"]
    cases = {
        "add": (x + b, a + b), "radd": (b + x, b + a), "sub": (x - 1, a - 1), "rsub": (1 - x, 1 - a), "mul": (2 * x, 2 * a),
        "div": (x / b, a / b), "rdiv": (1.5 / x, np.float32(1.5) / a), "neg": (-x, -a), "matmul": (x @ b, a @ b), "rmatmul": (b @ x, b @ a),
    }  # fmt: skip
    for name, (value, _) in cases.items():
        graph.output(value, name)
    found = session.load(graph)(a=a)
    for name, (_, expected) in cases.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-6, err_msg=name)


def test_every_op_goes_by_its_name(session):
    names = session.ops()
    assert {"qmatmul", "softmax", "attention", "rope", "append"} <= set(names) and set(names) <= set(dir(bq.ops))
    graph = bq.Graph("ops", [bq.TensorType("f32", [2, 3, 4])], session)
    x = graph[0]
    assert bq.ops.reshape(x, shape=[2, 12]).type == bq.TensorType("f32", [2, 12])
    assert bq.ops.reshape(x, shape=(2, -1)).shape == (2, 12)
    assert bq.ops.transpose(x, axes=[2, 0, 1]).shape == (4, 2, 3)
    assert bq.ops.cast(x, dtype="f16").type.element == "f16"
    values, places = bq.ops.top_k(x, k=2)
    assert (values.shape, places.type.element) == ((2, 3, 2), "i64")
    assert bq.ops.concat(x, x, axis=-1).shape == (2, 3, 8)
    assert bq.ops["softmax"](x, axis=-1, name="last").shape == (2, 3, 4)
    for wrong, sentence in [
        (lambda: bq.ops.nothing(x), "no op of this name is registered; there are"),
        (lambda: bq.ops.softmax(x, axes=1), "axes"),
        (lambda: bq.ops.softmax(x, axis="last"), "axis"),
        (lambda: bq.ops.softmax(x, axis=-1, name="last"), "last"),
        (lambda: bq.ops.softmax(x, axis={}), "the attribute `axis` cannot be"),
        (lambda: bq.ops.softmax(np.ones(3, np.float32), axis=0), "was given no value of a graph"),
        (lambda: bq.ops.reshape(x, shape=[2, -5]), "no dimension"),
        (lambda: x + "text", "an array was expected"),
        (lambda: bool(x), "no truth"),
    ]:
        with pytest.raises(bq.Error, match=sentence):
            wrong()


def test_symbols_are_bound_by_each_run(session):
    graph = bq.Graph("symbols", [bq.TensorType("f32", ["past + seq", 2]), bq.TensorType("f32", ["seq", 2]), bq.TensorType("f32", ["past"])], session)
    graph.output(bq.ops.reshape(graph[0], shape=["2*past + 2*seq"]))
    model = session.load(graph)
    a, b, c = np.ones((5, 2), np.float32), np.ones((2, 2), np.float32), np.ones(3, np.float32)
    assert model(a, b, c)["output0"].shape == (10,)
    with pytest.raises(bq.RunError, match="input0"):
        model(a, b, np.ones(4, np.float32))
    assert "depends on the symbols" in str(model.explain())
    assert model.explain(past=3, seq=2).arena_bytes is not None
    with pytest.raises(bq.RunError, match="no symbol `batch`"):
        model.explain(batch=1)


def test_states_live_from_run_to_run(session):
    graph = bq.Graph("cache", [bq.TensorType("f32", ["seq", 2]), bq.TensorType("i64", [])], session)
    cache = graph.state("cache", bq.TensorType("f32", [4, 2]))
    graph.output(bq.ops.append(cache, graph[0], graph[1]) * 1)
    model = session.load(graph)
    state = model.new_state()
    row = lambda value: np.full((1, 2), value, np.float32)  # noqa: E731
    state(row(1), np.int64(0))
    assert state(row(2), np.array(1))["output0"][:, 0].tolist() == [1, 2, 0, 0]
    assert state["cache"][:, 1].tolist() == [1, 2, 0, 0]
    assert model(row(3), np.array(3))["output0"][:, 0].tolist() == [0, 0, 0, 3]
    state.reset()
    assert not state["cache"].any()
    with pytest.raises(bq.RunError, match="no state `other`"):
        state["other"]


def test_plans_and_profiles_are_text_and_tables(session):
    graph, *_ = ffn(session)
    model = session.load(graph)
    plan = model.explain(batch=2)
    assert "qmatmul" in str(plan) and [node.node for node in plan.nodes if node.op == "qmatmul"] == ["up", "down"]
    assert plan.isa == session.isa and plan.nodes[0].kernel[1] == "qmatmul"
    html = plan._repr_html_()
    assert html.startswith("<table>") and html.count("<tr>") == len(plan.nodes) + 1 and "instruction set" in html
    state = model.new_state()
    with pytest.raises(bq.RunError, match="set_profile"):
        state.profile()
    state.set_profile()
    for _ in range(3):
        state(np.ones((2, 64), np.float32))
    profile = state.profile()
    assert profile.runs == 3 and all(node.calls == 3 for node in profile.nodes) and "qmatmul" in str(profile)
    assert profile._repr_html_().startswith("<table>")


def test_names_in_tables_are_text(session):
    graph = bq.Graph("names", {"<b>": bq.TensorType("f32", [2])}, session)
    graph.output(bq.ops.neg(graph["<b>"], name="<script>"))
    assert "<script>" not in session.load(graph).explain()._repr_html_()


def test_a_graph_is_saved_with_its_weights(session, tmp_path):
    graph, *_ = ffn(session)
    graph.save(tmp_path / "graph.safetensors")
    again = bq.Graph.load(tmp_path / "graph.safetensors", session)
    x = np.ones((2, 64), np.float32)
    assert (session.load(again)(x)["output0"] == session.load(graph)(x)["output0"]).all()


def test_the_weights_of_a_saved_graph_are_encoded_by_their_names(session, tmp_path):
    weights = np.random.default_rng(4).standard_normal((32, 64)).astype(np.float32)

    def product(encoding):
        with bq.Graph("product", [bq.TensorType("f32", ["batch", 64])], session) as graph:
            graph.output(bq.ops.qmatmul(graph.inputs[0], graph.quantize(encoding, weights, name="up")))
        return graph

    whole, small = tmp_path / "graph.safetensors", tmp_path / "small.safetensors"
    product("f32").save(whole)
    report = bq.quantize_file(whole, small, {"up": "q4_0"}, session=session)
    assert [weight.name for weight in report.weights] == ["up"]
    x = np.ones((2, 64), np.float32)
    found = session.load(bq.Graph.load(small, session))(x)["output0"]
    assert (found == session.load(product("q4_0"))(x)["output0"]).all()
    with pytest.raises(bq.RecipeError, match="its glob matches none"):
        bq.quantize_file(whole, small, {"down": "q4_0"}, session=session)


def test_what_does_not_fit_is_refused_when_the_graph_is_built_or_run(session):
    graph = bq.Graph("wrong", [bq.TensorType("f32", ["batch", 64])], session)
    other = bq.Graph("other", [bq.TensorType("f32", [4])], session)
    for wrong, error, sentence in [
        (lambda: bq.ops.qmatmul(graph[0], graph.quantize("q4_0", np.ones((2, 32), np.float32))), bq.GraphError, "node `qmatmul"),
        (lambda: graph.quantize("q4_0", graph[0]), bq.TensorError, "an array was expected"),
        (lambda: graph.op("add", graph[0], other[0]), bq.GraphError, "another graph"),
        (lambda: graph.output(other[0]), bq.GraphError, "another graph"),
        (lambda: graph.output(3), bq.GraphError, "an output is a value"),
        (lambda: graph.input("input0", bq.TensorType("f32", [1])), bq.GraphError, "taken already"),
        (lambda: graph.input("y", bq.TensorType("q9", [32])), bq.UnknownEncodingError, "no encoding `q9`"),
        (lambda: graph.input("y", bq.TensorType("f32", [-2])), bq.GraphError, "no dimension"),
        (lambda: graph.input("y", bq.TensorType("f32", [True])), bq.GraphError, "no dimension"),
        (lambda: graph.input("y", bq.TensorType("f32", ["a b"])), bq.GraphError, "no dimension|no symbol"),
        (lambda: graph.input("y", "f32"), bq.GraphError, "a `TensorType` was expected"),
        (lambda: graph[3], bq.GraphError, "there is no input 3"),
        (lambda: graph["z"], bq.GraphError, "no input `z`"),
        (lambda: graph.state("s", bq.TensorType("f32", ["n"])), bq.GraphError, "dimensions that are numbers"),
        (lambda: session.load(graph), bq.LoadError, "no outputs"),
        (lambda: bq.Graph("g", bq.TensorType("f32", [1]), session), bq.GraphError, "a list of types"),
        (lambda: graph.quantize("q4_9", np.ones((2, 32), np.float32)), bq.UnknownEncodingError, "did you mean"),
        (lambda: graph.constant(np.ones([1] * 40, np.float32)), bq.GraphError, "40 dimensions"),
    ]:
        with pytest.raises(error, match=sentence):
            wrong()
    graph.output(-graph[0])
    model = session.load(graph)
    x = np.ones((2, 64), np.float32)
    for wrong, error, sentence in [
        (lambda: model(), bq.RunError, "`input0` was given 0 times"),
        (lambda: model(x, x), bq.RunError, "2 inputs were given by place; the graph has 1"),
        (lambda: model(x, input0=x), bq.RunError, "given 2 times"),
        (lambda: model(y=x), bq.RunError, "no input `y`"),
        (lambda: model(x.astype(np.float64)), bq.RunError, "f64"),
        (lambda: model(x[:, :32].copy()), bq.RunError, "input0"),
        (lambda: model(x[0]), bq.RunError, "input0"),
        (lambda: model(np.ones((64, 2), np.float32).T), bq.TensorError, "the input `input0` is not contiguous"),
        (lambda: model(x.astype(">f4")), bq.TensorError, "the input `input0` has f32 values in big-endian"),
        (lambda: model("text"), bq.TensorError, "the input `input0` is of type `str`"),
        (lambda: model.execute(x), bq.RunError, "names and arrays in turns"),
    ]:
        with pytest.raises(error, match=sentence):
            wrong()
    assert (model(x)["output0"] == -1).all()


def test_a_closed_session_says_so():
    session = bq.InferenceSession()
    graph, *_ = ffn(session)
    model = session.load(graph)
    session.close()
    for use in (
        lambda: session.load(graph),
        lambda: session.quantize("q4_0", np.ones((1, 32), np.float32)),
        lambda: bq.Graph("g", (), session),
        lambda: session.encodings(),
        lambda: session.register(object()),
        lambda: bq.checkpoint.load("none", session=session),
    ):
        with pytest.raises(bq.SessionError, match="the session is closed"):
            use()
    assert model(np.ones((1, 64), np.float32))["output0"].shape == (1, 64)


def test_options_of_a_session():
    for arguments, sentence in [
        ({"threads": 0}, None),
        ({"threads": 5000}, "at most 1024"),
        ({"options": {"isa": "z80"}}, "isa"),
        ({"plugin_dirs": ["/nowhere"]}, "there is no directory /nowhere"),
        ({"plugin_dirs": "plugins"}, "lists of paths"),
    ]:
        if sentence is None:
            bq.InferenceSession(**arguments).close()
            continue
        with pytest.raises(bq.SessionError, match=sentence):
            bq.InferenceSession(**arguments)
    assert bq.InferenceSession(threads=2, options={"isa": "scalar"}).isa == "scalar"


def test_the_same_outputs_for_every_number_of_threads():
    outputs = []
    for threads in (1, 2, 3):
        session = bq.InferenceSession(threads=threads)
        graph, *_ = ffn(session)
        outputs.append(session.load(graph)(np.linspace(-1, 1, 64 * 7, dtype=np.float32).reshape(7, 64))["output0"])
    assert (outputs[0] == outputs[1]).all() and (outputs[0] == outputs[2]).all()
