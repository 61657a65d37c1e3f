"""Encodings that are declared as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _native
from ._native import Declaration


def encoding(
    name: str,
    block_len: int,
    bits: int | str,
    *,
    values: Sequence[float] | None = None,
    offset: int | None = None,
    signed: bool = False,
    scale: str = "f16",
    min: str | None = None,
    groups: int = 1,
    unused: float | None = None,
    summary: str | None = None,
    version: int = 1,
) -> Declaration:
    """Declares an encoding: blocks of ``block_len`` values, whose scales are followed by their minima and then by their codes.

    A code has so many ``bits``, or is a small float: ``"f4_e2m1"``, ``"f6_e2m3"``, ``"f6_e3m2"``, ``"f8_e4m3"``, ``"f8_e5m2"``. It stands
    for its entry of ``values``, for itself less ``offset``, or for itself in two's complement where it is ``signed``; times the scale, and
    plus the minimum if there is one. ``scale`` and ``min`` are stored as f32, f16, bf16, f8_e4m3 or e8m0, for each of ``groups`` equal
    parts of a block. ``unused`` is the value of codes that have none.

    The answer is registered by ``session.register``, and written by ``answer.save("x.encoding.toml")`` into a plugin directory.

    Raises ``DeclarationError`` if it makes no sense.
    """
    table: list[float] | None = None if values is None else [float(value) for value in values]
    arguments: dict[str, Any] = {"offset": offset, "signed": signed, "scale": scale, "min": min, "groups": groups, "unused": unused}
    return _native.Declaration(name, block_len, bits, values=table, summary=summary, version=version, **arguments)
