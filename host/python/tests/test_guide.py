"""The guide to quantizing graph weights, line by line. Each line of its programs is quoted before what it is here."""

import numpy as np
import pytest

import bitquilt as bq


def test_quantize_some_weights():
    # graph = Graph(TensorType(DType.float32, 32, 64))
    session = bq.InferenceSession()
    graph = bq.Graph("guide", [bq.TensorType("f32", [32, 64])], session)

    # constant_value = Tensor[DType.float32](TensorShape(32, 64), 0.15)
    constant_value = np.full((32, 64), 0.15, np.float32)
    # quantized_value = Q4_0Encoding.quantize(constant_value)
    quantized_value = bq.quantize("q4_0", constant_value)
    # quantized_constant = graph.constant(quantized_value)
    quantized_constant = graph.constant(quantized_value)
    # matmul = qmatmul[Q4_0Encoding](graph[0], quantized_constant)
    matmul = bq.ops.qmatmul(graph[0], quantized_constant)
    graph.output(matmul)

    # session = InferenceSession()
    # model = session.load(graph)
    model = session.load(graph)

    # input = Tensor[DType.float32](TensorShape(32, 64), 0.5)
    input = np.full((32, 64), 0.5, np.float32)
    # results = model.execute("input0", input^)
    results = model.execute("input0", input)
    # output = results.get[DType.float32]("output0")
    output = results.get("output0")
    assert output.shape == (32, 32) and output.dtype == np.float32
    np.testing.assert_allclose(output, 4.8, rtol=0.01)

    # "the quantized value as a Tensor", "a uint8 bytes buffer": 18 bytes for 32 values.
    assert quantized_value.bytes.dtype == np.uint8 and quantized_value.bytes.shape == (32, 36)
    assert quantized_value.encoding == "q4_0" and quantized_value.shape == (32, 64)


def test_perform_matmul_with_the_full_precision_constant():
    session = bq.InferenceSession()
    graph = bq.Graph("guide", [bq.TensorType("f32", [32, 64])], session)
    # constant_value = Tensor[DType.float32](TensorShape(64, 32), 0.15)
    constant_value = np.full((64, 32), 0.15, np.float32)
    # constant = graph.constant(constant_value)
    constant = graph.constant(constant_value)
    # matmul = graph[0] @ constant
    matmul = graph[0] @ constant
    graph.output(matmul)
    output = session.load(graph).execute("input0", np.full((32, 64), 0.5, np.float32))["output0"]
    np.testing.assert_allclose(output, np.full((32, 64), 0.5, np.float32) @ constant_value, rtol=1e-6)


def test_both_lines_in_one():
    session = bq.InferenceSession()
    graph = bq.Graph("guide", [bq.TensorType("f32", [32, 64])], session)
    constant_value = np.full((32, 64), 0.15, np.float32)
    # quantized_constant = graph.quantize[Q4_0Encoding](constant_value)
    quantized_constant = graph.quantize("q4_0", constant_value)
    graph.output(bq.ops.qmatmul(graph[0], quantized_constant))
    output = session.load(graph)(np.full((32, 64), 0.5, np.float32))["output0"]
    np.testing.assert_allclose(output, 4.8, rtol=0.01)
    # "you can't use quantize() with runtime inputs"
    with pytest.raises(bq.TensorError, match="an array was expected"):
        graph.quantize("q4_0", graph[0])


def test_using_quantized_weights_with_another_op_does_not_work_as_is():
    session = bq.InferenceSession()
    graph = bq.Graph("guide", [bq.TensorType("f32", [32, 64])], session)
    weight = graph.quantize("q4_0", np.full((32, 64), 0.15, np.float32))
    with pytest.raises(bq.GraphError, match="qmatmul"):
        graph[0] + weight


def test_save_and_load_tensors_to_disk(tmp_path):
    path = tmp_path / "checkpoint.max"
    # tensors = TensorDict()
    tensors = bq.TensorDict()
    # tensors.set("x", Tensor[DType.int32](TensorShape(1, 2, 2), 1, 2, 3, 4))
    tensors.set("x", np.array([[[1, 2], [3, 4]]], np.int32))
    # tensors.set("y", Tensor[DType.float32](TensorShape(10, 5), -1.23))
    tensors.set("y", np.full((10, 5), -1.23, np.float32))
    # save(tensors, "/path/to/checkpoint.max")
    bq.checkpoint.save(tensors, path)
    # tensors = load("/path/to/checkpoint.max")
    tensors = bq.checkpoint.load(path)
    # x = tensors.get[DType.int32]("x")
    x = tensors.get("x").numpy()
    assert x.dtype == np.int32 and x.tolist() == [[[1, 2], [3, 4]]]
    assert (tensors["y"].numpy() == np.float32(-1.23)).all()


def test_a_custom_encoding_and_a_custom_op():
    class Halves:
        """Blocks of 32 values as float16."""

        name, block_len, block_bytes = "guide.halves", 32, 64

        def quantize(self, rows, importance):
            return rows.astype(np.float16).view(np.uint8)

        def dequantize(self, blocks):
            return np.ascontiguousarray(blocks).view(np.float16).astype(np.float32)

    @bq.op("guide.row_sums", infer=lambda w: bq.TensorType("f32", w.shape[:-1]))
    def row_sums(w: bq.Tensor):
        return w.dequantize().sum(-1)

    session = bq.InferenceSession()
    session.register(Halves(), row_sums)
    values = np.arange(256, dtype=np.float32).reshape(4, 64)
    with bq.Graph("guide", [bq.TensorType("f32", ["batch", 64])], session) as graph:
        weight = graph.quantize("guide.halves", values)
        graph.output(bq.ops["guide.row_sums"](weight))
        graph.output(bq.ops.qmatmul(graph[0], weight))
    results = session.load(graph)(np.eye(64, dtype=np.float32)[:3])
    assert (results["output0"] == values.sum(-1)).all()
    np.testing.assert_allclose(results["output1"], values.T[:3], rtol=1e-5)
