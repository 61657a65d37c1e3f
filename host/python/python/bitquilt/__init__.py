"""bitquilt: static tensor graphs whose weights may each be quantized in a different encoding.

>>> import numpy as np, bitquilt as bq
>>> session = bq.InferenceSession()
>>> with bq.Graph("ffn", [bq.TensorType("f32", ["batch", 64])], session) as graph:
...     (x,) = graph.inputs
...     w = graph.quantize("q4_0", np.full((32, 64), 0.15, np.float32))
...     graph.output(bq.ops.silu(bq.ops.qmatmul(x, w)) * 2)
>>> model = session.load(graph)
>>> y = model(np.full((1, 64), 0.5, np.float32))["output0"]
"""

from typing import TYPE_CHECKING, Any

from . import checkpoint
from ._declared import encoding
from ._errors import (
    CheckpointError,
    CompareError,
    ConformanceError,
    DeclarationError,
    Error,
    FileError,
    GraphError,
    ImportanceError,
    LoadError,
    ModelError,
    PlanError,
    QuantizeError,
    QuantizeWarning,
    RecipeError,
    RewriteError,
    RunError,
    SessionError,
    TensorError,
    UnknownEncodingError,
)
from ._files import compare, convert, quantize_file
from ._graph import Graph, Ops, Value, ops
from ._model import Model, State
from ._native import Declaration, Tensor
from ._op import Op, op
from ._planning import importance, plan
from ._session import Encoding, InferenceSession, Plugin, current_session, dequantize, encoded, encodings, quantize
from ._types import TensorType
from .checkpoint import TensorDict

if TYPE_CHECKING:
    from . import gguf, testing
    from ._plans import Importance, Plan
    from ._reports import Comparison, Explanation, FileReport, Profile

# What takes time to import and is not always wanted.
_MODULES = ("gguf", "testing")
_REPORTS = {
    "Comparison": "._reports",
    "Explanation": "._reports",
    "FileReport": "._reports",
    "Importance": "._plans",
    "Plan": "._plans",
    "Profile": "._reports",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _REPORTS:
        return getattr(import_module(_REPORTS[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "CheckpointError",
    "CompareError",
    "Comparison",
    "ConformanceError",
    "Declaration",
    "DeclarationError",
    "Encoding",
    "Error",
    "Explanation",
    "FileError",
    "FileReport",
    "Graph",
    "GraphError",
    "Importance",
    "ImportanceError",
    "InferenceSession",
    "LoadError",
    "Model",
    "ModelError",
    "Op",
    "Ops",
    "Plan",
    "PlanError",
    "Plugin",
    "Profile",
    "QuantizeError",
    "QuantizeWarning",
    "RecipeError",
    "RewriteError",
    "RunError",
    "SessionError",
    "State",
    "Tensor",
    "TensorDict",
    "TensorError",
    "TensorType",
    "UnknownEncodingError",
    "Value",
    "checkpoint",
    "compare",
    "convert",
    "current_session",
    "dequantize",
    "encoded",
    "encoding",
    "encodings",
    "gguf",
    "importance",
    "op",
    "ops",
    "plan",
    "quantize",
    "quantize_file",
    "testing",
]
