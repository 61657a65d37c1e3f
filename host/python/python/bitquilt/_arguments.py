"""What arguments are, before the native part has them: an error's sentence says what was given and what was expected."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, SupportsFloat, SupportsIndex

_MOST = 2**64 - 1


def described(value: object) -> str:
    """A number or a short text as it is written; of anything else its type."""
    is_short = isinstance(value, int) and value.bit_length() <= 128 or isinstance(value, str) and len(value) <= 40
    return repr(value) if is_short or isinstance(value, float) else f"of type `{type(value).__name__}`"


def wrong(name: str, value: object, expected: str, error: type[Exception]) -> Exception:
    """The error for an argument that is not what was expected."""
    return error(f"`{name}` is {described(value)}; {expected} was expected")


def path(name: str, value: object, error: type[Exception], expected: str = "a path") -> str:
    """A path."""
    found = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(found, str):
        raise wrong(name, value, expected, error)
    return found


def optional_path(name: str, value: object, error: type[Exception], expected: str = "a path") -> str | None:
    """A path, if there is one."""
    return None if value is None else path(name, value, error, expected)


def text(name: str, value: object, error: type[Exception], expected: str) -> str | None:
    """A text, if there is one."""
    if value is None or isinstance(value, str):
        return value
    raise wrong(name, value, expected, error)


def items(name: str, value: Any, error: type[Exception], expected: str) -> list[Any]:
    """What is in a list, or in another iterable that is no text, no bytes and no path."""
    if isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable):
        raise wrong(name, value, expected, error)
    return list(value)


def by_name(name: str, value: Mapping[Any, Any], error: type[Exception], of: str) -> dict[str, Any]:
    """A mapping, by names of ``of``."""
    for key in value:
        if not isinstance(key, str):
            raise error(f"`{name}` has a key that is {described(key)}; names of {of} were expected")
    return dict(value)


def names(name: str, value: Any, error: type[Exception], expected: str = "a list of names") -> list[str]:
    """The texts of a list."""
    if isinstance(value, str):
        raise error(f"`{name}` is {expected}, one text was given")
    found = items(name, value, error, expected)
    for index, item in enumerate(found):
        if not isinstance(item, str):
            raise wrong(f"{name}[{index}]", item, "a text", error)
    return found


def whole(name: str, value: object, error: type[Exception], unit: str) -> int:
    """A whole number that 64 bits have room for."""
    expected = f"a whole number of {unit}"
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise wrong(name, value, expected, error)
    try:
        found = operator.index(value)
    except TypeError:
        raise wrong(name, value, expected, error) from None
    if not 0 <= found <= _MOST:
        given = described(found) if found.bit_length() <= 128 else f"an integer of {found.bit_length()} bits"
        raise error(f"`{name}` is {given}; {expected}, 0 to {_MOST}, was expected")
    return found


def optional_whole(name: str, value: object, error: type[Exception], unit: str) -> int | None:
    """A whole number that 64 bits have room for, if there is one."""
    return None if value is None else whole(name, value, error, unit)


def real(name: str, value: object, error: type[Exception], unit: str) -> float | None:
    """A number, if there is one."""
    if value is None:
        return None
    expected = f"a number of {unit}"
    if isinstance(value, bool) or not isinstance(value, SupportsFloat | SupportsIndex):
        raise wrong(name, value, expected, error)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong(name, value, expected, error) from None
