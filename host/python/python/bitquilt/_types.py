"""Types of tensors."""

from collections.abc import Sequence

Dimension = int | str
"""A number, a symbol such as ``"batch"``, or an expression over symbols such as ``"past + seq"``."""


class TensorType:
    """An element and a logical shape.

    ``element`` is the name of a dtype (``"f32"``, ``"f16"``, ``"bf16"``, ``"f8_e4m3"``, ``"i64"``, ``"bool"``, ...) or of an encoding
    (``"q4_k"``). ``shape`` counts values, outermost dimension first; its symbols are bound by each run. f16 and bf16 are both dtypes and
    encodings: ``encoded`` says that the encoding is meant.
    """

    __slots__ = ("element", "encoded", "shape")
    __match_args__ = ("element", "shape")

    element: str
    shape: tuple[Dimension, ...]
    encoded: bool

    def __init__(self, element: str, shape: Sequence[Dimension], encoded: bool = False) -> None:
        self.element = element
        self.shape = tuple(shape)
        self.encoded = encoded

    def __repr__(self) -> str:
        return f"{self.element} [{', '.join(map(str, self.shape))}]"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorType):
            return NotImplemented
        return (self.element, self.shape, self.encoded) == (other.element, other.shape, other.encoded)

    def __hash__(self) -> int:
        return hash((self.element, self.shape, self.encoded))
