"""Quantizing and decoding by the names and types of the package ``gguf``, for every type that bitquilt knows.

``quantize`` and ``dequantize`` answer what ``gguf.quantize`` and ``gguf.dequantize`` answer, and what ggml itself writes where the
package has no function. ``gguf`` need not be installed: a type is its ``GGMLQuantizationType``, the number of that, or its name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import QuantizeError, TensorError
from ._session import current_session

__all__ = ["TYPES", "dequantize", "quantize"]

TYPES: dict[int, str] = {
    0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k",
    16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s", 23: "iq4_xs", 29: "iq1_m", 30: "bf16",
    34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0",
}  # fmt: skip
"""The encoding of each of ggml's types, by its number (``enum ggml_type`` of ggml 0.25)."""


def _name(qtype: Any) -> str:
    name = qtype.lower() if isinstance(qtype, str) else TYPES.get(qtype) if isinstance(qtype, int) else None
    if name is None or name not in TYPES.values():
        raise QuantizeError(f"`{qtype!r}` is no type that is quantized; there are {', '.join(name.upper() for name in TYPES.values())}")
    return name


def quantize(data: npt.ArrayLike, qtype: Any, *, importance: npt.ArrayLike | None = None) -> npt.NDArray[Any]:
    """Encodes values of any float dtype: float32 for F32, float16 for F16, and otherwise u8 ``[.., bytes a row]``.

    ``importance`` has a weight for each column; IQ2_XXS, IQ2_XS and IQ1_S demand it.

    Raises ``TensorError`` for rows that are no whole blocks, and ``QuantizeError`` for values that are not finite.
    """
    name = _name(qtype)
    array = np.asarray(data)
    if name == "f32":
        return array.astype(np.float32, copy=False)
    if name == "f16":
        return array.astype(np.float16, copy=False)
    rows = np.ascontiguousarray(array, np.float32)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32)
    return current_session()._native.quantize(name, rows, weights).bytes


def dequantize(data: npt.NDArray[Any], qtype: Any) -> npt.NDArray[np.float32]:
    """The values of blocks, u8 ``[.., bytes a row]``, as float32 ``[.., values a row]``.

    Raises ``TensorError`` for rows that are no whole blocks.
    """
    name = _name(qtype)
    if name == "f32":
        return data.view(np.float32)
    blocks = np.ascontiguousarray(data).view(np.uint8)
    encoding = current_session().encodings()[name]
    row = blocks.shape[-1] if blocks.ndim else 0
    if not blocks.ndim or row % encoding.block_bytes:
        raise TensorError(f"a row of {row} bytes is no whole number of `{name}` blocks of {encoding.block_bytes} bytes")
    shape = (*blocks.shape[:-1], row // encoding.block_bytes * encoding.block_len)
    session = current_session()._native
    return session.dequantize(session.encoded(name, shape, blocks))
