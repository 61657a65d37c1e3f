"""Whole files: quantized, converted, compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import CompareError, RecipeError
from ._session import InferenceSession, PathLike, current_session

if TYPE_CHECKING:
    from ._reports import Comparison, FileReport


def _session(session: InferenceSession | None, *paths: str) -> _native.Session:
    return (session or current_session())._with_encodings_of(paths)._native


def quantize_file(
    input: PathLike,
    output: PathLike,
    encoding: str | Mapping[str, str] | None = None,
    *,
    recipe: PathLike | None = None,
    only: str | None = None,
    exclude: Sequence[str] = (),
    fallback: str | None = None,
    importance: PathLike | Mapping[str, Any] | None = None,
    requantize: bool = False,
    format: str | None = None,
    split: int | None = None,
    dry_run: bool = False,
    session: InferenceSession | None = None,
) -> FileReport:
    """Encodes the weights of a GGUF, safetensors or ``.npz`` file, and carries everything else over bit for bit.

    ``encoding`` is a name for all weights, or names by glob (``"*"`` for those that no other glob matches); ``recipe`` is a TOML file of
    rules. ``only`` is a glob over the weights that one ``encoding`` is for, ``exclude`` are globs over weights that stay. ``fallback`` is
    for weights whose rows are no whole blocks. ``importance`` is a safetensors file, or arrays by weight: float32, a weight for each
    column. Weights that are encoded already stay so without ``requantize``. ``output`` is GGUF or ``.npz`` where its name ends so, or
    ``format`` says so, and safetensors otherwise; ``split`` is the most bytes of tensors in one file. With ``dry_run`` nothing is written.

    Raises ``RecipeError``, ``QuantizeError``, ``CheckpointError``, ``FileError`` and ``RewriteError``; then ``output`` is as it was.
    """
    from ._reports import FileReport

    choices = dict(encoding) if isinstance(encoding, Mapping) else {}
    uniform = choices.pop("*", None) if isinstance(encoding, Mapping) else encoding
    if uniform is None and not choices and recipe is None:
        raise RecipeError("nothing was said of any weight: give an `encoding` or a `recipe`")
    if isinstance(exclude, str):
        raise RecipeError("`exclude` is a list of globs, one text was given")
    wanted = {
        "recipe": None if recipe is None else os.fspath(recipe),
        "encoding": uniform,
        "choices": list(choices.items()),
        "only": only,
        "exclude": list(exclude),
        "fallback": fallback,
        "requantize": requantize,
    }
    vectors = dict(importance) if isinstance(importance, Mapping) else None if importance is None else os.fspath(importance)
    source = os.fspath(input)
    parts = _native.quantize_file(
        source,
        os.fspath(output),
        wanted,
        _session(session, source),
        importance=vectors,
        format=format,
        split=split,
        dry_run=dry_run,
    )
    return FileReport._of(*parts)


def convert(
    input: PathLike,
    output: PathLike,
    to: str | None = None,
    *,
    format: str | None = None,
    split: int | None = None,
    without_metadata: bool = False,
    dry_run: bool = False,
    session: InferenceSession | None = None,
) -> FileReport:
    """Writes a checkpoint in another format, bit for bit; or with its tensors decoded and cast ``to`` f32, f16 or bf16.

    Raises ``CheckpointError`` for what the format of ``output`` has no place for; then nothing is written.
    """
    from ._reports import FileReport

    source = os.fspath(input)
    parts = _native.convert(
        source,
        os.fspath(output),
        _session(session, source),
        to=to,
        format=format,
        split=split,
        without_metadata=without_metadata,
        dry_run=dry_run,
    )
    return FileReport._of(*parts)


def compare(
    reference: PathLike,
    other: PathLike | None = None,
    *,
    encodings: Sequence[str] = (),
    only: str | None = None,
    importance: PathLike | None = None,
    session: InferenceSession | None = None,
) -> dict[str, Comparison]:
    """What was lost: the weights of ``reference`` beside those of ``other``, or beside what each of ``encodings`` makes of them.

    The answer has a comparison for each encoding, by its name, or one, by the name of ``other``. ``only`` is a glob.

    Raises ``CompareError`` if there is nothing to compare or a value is not finite.
    """
    from ._reports import Comparison

    if (other is None) == (not encodings):
        raise CompareError("either another file or `encodings` is what the reference is compared with")
    if isinstance(encodings, str):
        raise CompareError("`encodings` is a list of names, one text was given")
    paths = [os.fspath(path) for path in (reference, other) if path is not None]
    parts = _native.compare(
        paths[0],
        None if other is None else paths[1],
        list(encodings),
        _session(session, *paths),
        only=only,
        importance=None if importance is None else os.fspath(importance),
    )
    names = [paths[1]] if other is not None else list(encodings)
    return {name: Comparison._of(name, *part) for name, part in zip(names, parts, strict=True)}
