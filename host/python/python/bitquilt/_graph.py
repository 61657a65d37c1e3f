"""Graphs, and their values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any

import numpy as np

from . import _native
from ._errors import GraphError
from ._native import Tensor
from ._session import _CURRENT, InferenceSession, PathLike, current_session, session_or_current
from ._types import Dimension, TensorType

_NUMPY = {
    "f32": "float32", "f64": "float64", "f16": "float16", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
    "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool",
}  # fmt: skip


class Value:
    """A tensor of a graph: an input, a constant, a state, or what an op yields.

    ``+ - * /`` and ``@`` (``matmul``) take values, arrays and numbers.
    """

    __slots__ = ("_native", "graph")
    # An array on the left leaves the operator to the value.
    __array_ufunc__ = None

    def __init__(self, graph: Graph, native: _native.Value) -> None:
        self.graph = graph
        self._native = native

    @property
    def type(self) -> TensorType:
        """Element and shape."""
        return self.graph._native.type(self._native)

    @property
    def shape(self) -> tuple[Dimension, ...]:
        """The logical shape."""
        return self.type.shape

    def _with(self, op: str, left: Any, right: Any) -> Value:
        value = self.graph.op(op, left, right)
        assert isinstance(value, Value)
        return value

    def __add__(self, other: Any) -> Value:
        return self._with("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self._with("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self._with("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self._with("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self._with("mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self._with("mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self._with("div", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with("div", other, self)

    def __matmul__(self, other: Any) -> Value:
        return self._with("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Value:
        return self._with("matmul", other, self)

    def __neg__(self) -> Value:
        value = self.graph.op("neg", self)
        assert isinstance(value, Value)
        return value

    def __bool__(self) -> bool:
        raise GraphError("a value of a graph has no truth: it is computed when the model runs")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self._native == other._native

    def __hash__(self) -> int:
        return hash(self._native)

    def __repr__(self) -> str:
        return f"<Value {self.type!r}>"


class Graph:
    """A static graph of ops over tensors. Types are inferred and checked as nodes are added.

    ``inputs`` are types, named ``input0`` and so on, or types by name. Within ``with graph:`` functions that take a session take the
    graph's. A graph is built in one thread.
    """

    def __init__(
        self,
        name: str = "graph",
        inputs: Sequence[TensorType] | Mapping[str, TensorType] = (),
        session: InferenceSession | None = None,
    ) -> None:
        self.name = name
        self.session = session_or_current(session)
        self._native = _native.Graph(self.session._native)
        self._written = self.session._written
        self._tokens: list[tuple[Token[InferenceSession | None], Token[Graph | None]]] = []
        if isinstance(inputs, Mapping):
            for port, tensor in inputs.items():
                self.input(port, tensor)
        elif isinstance(inputs, TensorType):
            raise GraphError("`inputs` is a list of types, one type was given")
        else:
            for tensor in inputs:
                self._native.input(None, tensor)

    @classmethod
    def load(cls, path: PathLike, session: InferenceSession | None = None) -> Graph:
        """A graph that ``save`` wrote. The encodings that the file declares are there, too."""
        path = os.fspath(path)
        graph = cls.__new__(cls)
        graph.name = os.path.basename(path)
        graph.session = session_or_current(session)._with_encodings_of([path])
        graph._native = _native.Graph.load(path, graph.session._native)
        graph._written = graph.session._written
        graph._tokens = []
        return graph

    def save(self, path: PathLike) -> None:
        """Writes the graph with its constants into one file."""
        self._native.save(os.fspath(path))

    def __enter__(self) -> Graph:
        self._tokens.append((_CURRENT.set(self.session), _GRAPH.set(self)))
        return self

    def __exit__(self, *_: object) -> None:
        session, graph = self._tokens.pop()
        _CURRENT.reset(session)
        _GRAPH.reset(graph)

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The inputs, in order."""
        return tuple(Value(self, value) for _, value in self._native.inputs())

    def __getitem__(self, input: int | str) -> Value:
        """The input of this place or name."""
        inputs = self._native.inputs()
        if isinstance(input, str):
            for name, value in inputs:
                if name == input:
                    return Value(self, value)
            raise GraphError(f"the graph has no input `{input}`; it has {', '.join(name for name, _ in inputs)}")
        try:
            return Value(self, inputs[input][1])
        except IndexError:
            raise GraphError(f"the graph has {len(inputs)} inputs, there is no input {input}") from None

    def input(self, name: str, type: TensorType) -> Value:
        """Adds an input."""
        return Value(self, self._native.input(name, type))

    def state(self, name: str, type: TensorType) -> Value:
        """Adds a state: memory that ``model.new_state()`` keeps from run to run, zero at first."""
        return Value(self, self._native.state(name, type))

    def constant(self, tensor: Any, name: str | None = None) -> Value:
        """Adds a tensor or an array that is the same for each run. A read-only array of floats is shared, others are copied.

        By ``name`` a weight is found in what is recorded of it, in a plan, and in the file of a saved graph.
        """
        return Value(self, self._native.constant(tensor, name))

    def quantize(self, encoding: str, array: Any, importance: Any = None, *, name: str | None = None) -> Value:
        """Encodes an array and adds it as a constant: ``bitquilt.quantize`` and ``constant`` in one."""
        return self.constant(self.session._native.quantize(encoding, array, importance), name)

    def output(self, value: Value, name: str | None = None) -> None:
        """Makes a value an output, named ``output0`` and so on if nothing is said."""
        if not isinstance(value, Value):
            raise GraphError(f"an output is a value of the graph, `{type(value).__name__}` was given")
        self._native.output(value._native, name)

    def op(self, op: str, *inputs: Any, name: str | None = None, **attributes: Any) -> Value | tuple[Value, ...]:
        """Applies an op: a value, or several where the op yields several.

        Inputs are values, arrays and numbers; optional inputs and attributes are given by name. A number has the dtype of the values
        beside it. ``name`` names the node, for messages and ``explain``.
        """
        like = next((value.type for value in inputs if isinstance(value, Value)), None)
        places = [self._value(value, like) for value in inputs]
        named = {key: value._native for key, value in attributes.items() if isinstance(value, Value)}
        others = {key: value for key, value in attributes.items() if key not in named and value is not None}
        if self._written and "decode" not in others and self._native.takes(op, "decode"):
            types = (self._native.type(place) for place in places)
            if any(type.encoded and type.element in self._written for type in types):
                others["decode"] = "f32"
        values = self._native.node(op, places, named, others, name)
        if len(values) == 1:
            return Value(self, values[0])
        return tuple(Value(self, value) for value in values)

    def _value(self, given: Any, like: TensorType | None) -> _native.Value:
        if isinstance(given, Value):
            return given._native
        if isinstance(given, int | float) and not isinstance(given, np.generic):
            element = "f32" if like is None or like.encoded else like.element
            if element not in _NUMPY:
                raise GraphError(f"{given!r} cannot be a constant of {element}; give an array")
            try:
                given = np.asarray(given).astype(_NUMPY[element], casting="same_kind") if isinstance(given, float) else np.array(given, _NUMPY[element])
            except (TypeError, OverflowError, ValueError):
                raise GraphError(f"{given!r} cannot be a constant of {element}") from None
        return self._native.constant(given)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {self._native.type(value)!r}" for name, value in self._native.inputs())
        return f"<Graph {self.name} ({inputs})>"


_GRAPH: ContextVar[Graph | None] = ContextVar("bitquilt graph", default=None)


class Ops:
    """Every op of a session by its name: ``ops.silu(x)``, ``ops["acme.row_norms"](w)``."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        def apply(*inputs: Any, name: str | None = None, **attributes: Any) -> Value | tuple[Value, ...]:
            values = (value for value in (*inputs, *attributes.values()) if isinstance(value, Value))
            graph = next((value.graph for value in values), None) or _GRAPH.get()
            if graph is None:
                raise GraphError(f"`{op}` was given no value of a graph; use it within `with graph:`, or call `graph.op`")
            return graph.op(op, *inputs, name=name, **attributes)

        op = name
        apply.__name__ = apply.__qualname__ = name
        return apply

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __dir__(self) -> list[str]:
        return current_session().ops()


ops = Ops()

__all__ = ["Graph", "Ops", "Tensor", "Value", "ops"]
