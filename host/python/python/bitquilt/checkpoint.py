"""Tensors by name, from and to GGUF, safetensors and ``.npz`` files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from . import _native
from ._errors import CheckpointError
from ._native import Tensor
from ._session import InferenceSession, PathLike, session_or_current

__all__ = ["Metadata", "TensorDict", "load", "save"]


class Metadata(MutableMapping[str, Any]):
    """What a file says about itself. Values keep the types that they have in it.

    A whole number that is set is i64 (u64 where it is larger), another number f64; NumPy's numbers and arrays have their own types, so
    that ``metadata["llama.block_count"] = np.uint32(30)`` is what llama.cpp reads.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._native = _native.Metadata()
        self.update(values or {})

    def __getitem__(self, key: str) -> Any:
        return self._native[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._native[key] = value

    def __delitem__(self, key: str) -> None:
        del self._native[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._native.keys())

    def __len__(self) -> int:
        return len(self._native)

    def __repr__(self) -> str:
        return f"<Metadata, {len(self)} values>"


class TensorDict(MutableMapping[str, Tensor]):
    """Tensors by name, in the order of the names, and ``metadata``. Arrays that are set become tensors."""

    def __init__(self, tensors: Mapping[str, Any] | None = None, metadata: Mapping[str, Any] | None = None) -> None:
        self._tensors: dict[str, Tensor] = {}
        self.metadata = Metadata(metadata)
        self.update(tensors or {})

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self._tensors[name]
        except KeyError:
            pass
        from difflib import get_close_matches

        similar = get_close_matches(name, self._tensors, n=3, cutoff=0.8)
        hint = f"did you mean {' or '.join(f'`{it}`' for it in similar)}?" if similar else f"none of the {len(self)} has a similar name"
        raise MissingTensorError(f"there is no tensor `{name}`; {hint}")

    def __setitem__(self, name: str, tensor: Any) -> None:
        if not isinstance(name, str):
            raise CheckpointError(f"the name of a tensor is a text, `{type(name).__name__}` was given")
        self._tensors[name] = tensor if isinstance(tensor, Tensor) else Tensor(tensor)

    def __delitem__(self, name: str) -> None:
        del self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._tensors))

    def __len__(self) -> int:
        return len(self._tensors)

    def set(self, name: str, tensor: Any) -> None:
        """Adds a tensor, or an array's."""
        self[name] = tensor

    def __repr__(self) -> str:
        return f"<TensorDict, {len(self)} tensors>"


class MissingTensorError(CheckpointError, KeyError):
    """There is no tensor of this name."""

    __str__ = Exception.__str__


def load(path: PathLike, *, session: InferenceSession | None = None) -> TensorDict:
    """All tensors of a safetensors, GGUF or ``.npz`` file, or of a model in several files of which any one is named.

    The file is mapped, and arrays of the tensors lie in it: it must not be changed in place while they live.

    Raises ``FileError`` and ``CheckpointError``.
    """
    path = os.fspath(path)
    tensors, metadata = _native.load(path, session_or_current(session)._with_encodings_of([path])._native)
    answer = TensorDict()
    answer._tensors = dict(tensors)
    answer.metadata._native = metadata
    return answer


def save(tensors: TensorDict | Mapping[str, Any], path: PathLike) -> None:
    """Writes tensors into a file, which is replaced whole if it is there: GGUF if its name ends so, otherwise safetensors.

    Raises ``FileError``, and ``CheckpointError`` for what the format has no place for; then the file is as it was.
    """
    if not isinstance(tensors, TensorDict):
        tensors = TensorDict(tensors)
    _native.save(list(tensors.items()), tensors.metadata._native, os.fspath(path))
