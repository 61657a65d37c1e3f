"""Ops that are written in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._errors import SessionError
from ._graph import Value, ops
from ._native import Tensor
from ._types import TensorType

_KINDS = {"int": "int", "float": "float", "bool": "bool", "str": "str"}
_LISTS = {"int": "ints", "float": "floats", "str": "strs"}


class Op:
    """An op: its signature, its types, and a body on NumPy arrays. ``session.register(op)`` makes it known.

    Called with values of a graph it adds a node, and with arrays it is its body.
    """

    name: str
    summary: str
    inputs: list[tuple[str, bool]]
    attributes: list[tuple[str, str, bool, Any]]
    pure: bool
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    body: Callable[..., Any]

    def __init__(self, name: str, body: Callable[..., Any], infer: Callable[..., Any] | None, pure: bool) -> None:
        self.name = name
        self.body = body
        self.pure = pure
        self.summary = (body.__doc__ or "").strip().partition("\n")[0]
        self.infer = infer or _like_first
        self.inputs, self.attributes = _parameters(name, body)

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        if any(isinstance(value, Value) for value in inputs):
            return ops[self.name](*inputs, **attributes)
        return self.body(*inputs, **attributes)

    def __repr__(self) -> str:
        return f"<Op {self.name}>"


def _like_first(*inputs: TensorType, **_: Any) -> TensorType:
    return inputs[0]


def _parameters(op: str, body: Callable[..., Any]) -> tuple[list[tuple[str, bool]], list[tuple[str, str, bool, Any]]]:
    from inspect import Parameter, signature

    inputs, attributes = [], []
    for name, parameter in signature(body).parameters.items():
        annotation = parameter.annotation
        if parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
            encoded = annotation is Tensor or isinstance(annotation, str) and annotation.rpartition(".")[2] == "Tensor"
            inputs.append((name, encoded))
        elif parameter.kind is Parameter.KEYWORD_ONLY:
            default = None if parameter.default is Parameter.empty else parameter.default
            kind = _kind(annotation if annotation is not Parameter.empty else type(default), default)
            if kind is None:
                raise SessionError(f"the attribute `{name}` of `{op}` needs an annotation: int, float, bool, str, or a list of one of them")
            attributes.append((name, kind, parameter.default is Parameter.empty, default))
        else:
            raise SessionError(f"`{op}` takes `*{name}`; the inputs of an op are named, and its attributes follow `*`")
    if not inputs:
        raise SessionError(f"`{op}` has no inputs; an op has one at least")
    return inputs, attributes


def _kind(annotation: Any, default: Any) -> str | None:
    if isinstance(default, list | tuple) and annotation in (list, tuple) and default:
        return _LISTS.get(type(default[0]).__name__)
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") if not hasattr(annotation, "__args__") else str(annotation)
    text = text.partition("|")[0].strip()
    outer, _, inner = text.rpartition(".")[2].partition("[")
    if outer in ("list", "tuple", "Sequence"):
        return _LISTS.get(inner.partition("]")[0].partition(",")[0].strip())
    return _KINDS.get(outer)


def op(name: str, *, infer: Callable[..., Any] | None = None, pure: bool = True) -> Callable[[Callable[..., Any]], Op]:
    """Makes an op of a function on NumPy arrays.

    Parameters of the function are the inputs, those after ``*`` the attributes. A parameter that is annotated with ``bitquilt.Tensor``
    takes encoded tensors (``w.dequantize()`` decodes them), all others arrays. ``infer`` is given the types of the inputs, and the
    attributes by name, and answers the type of the output, or a tuple of types; without it that is the type of the first input.
    Where ``pure`` is False the same inputs need not give the same outputs, and nothing is computed when a graph is loaded.

    >>> @op("acme.clamp")
    ... def clamp(x, *, limit: float = 1.0):
    ...     return np.clip(x, -limit, limit)
    """
    return lambda body: Op(name, body, infer, pure)
