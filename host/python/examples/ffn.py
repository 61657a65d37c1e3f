#!/usr/bin/env python3
"""One layer with a quantized weight."""

import numpy as np

import bitquilt as bq

rng = np.random.default_rng(0)
w_f32 = rng.standard_normal((1024, 512)).astype(np.float32) / 16
x_np = rng.standard_normal((4, 512)).astype(np.float32)

session = bq.InferenceSession()
with bq.Graph("ffn", [bq.TensorType("f32", ["batch", 512])], session) as graph:
    (x,) = graph.inputs
    w = graph.quantize("q4_k", w_f32)
    graph.output(bq.ops.silu(bq.ops.qmatmul(x, w)) * 2)
model = session.load(graph)
y = model(x_np)["output0"]

exact = x_np @ w_f32.T
exact = 2 * exact / (1 + np.exp(-exact))
print(model.explain(batch=4))
print(f"{y.shape}, {np.linalg.norm(y - exact) / np.linalg.norm(exact):.3f} from full precision")
