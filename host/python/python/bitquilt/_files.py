"""Whole files: quantized, converted, compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import CompareError, RecipeError
from ._session import InferenceSession, PathLike, current_session

if TYPE_CHECKING:
    from ._plans import Plan
    from ._reports import Comparison, FileReport

# A file, several, arrays by the names of weights, or what `importance` has answered.
ImportanceLike = PathLike | Sequence[PathLike] | Mapping[str, Any]


def session_for(session: InferenceSession | None, *paths: str) -> _native.Session:
    """The session, or the current one, with the encodings that files declare."""
    return (session or current_session())._with_encodings_of(paths)._native


def importance_of(given: ImportanceLike | None) -> Any:
    """Importance as the native part takes it."""
    if given is None or isinstance(given, str | os.PathLike):
        return None if given is None else os.fspath(given)
    recorded = getattr(given, "_matrix", None)
    if recorded is not None:
        return recorded
    return dict(given) if isinstance(given, Mapping) else [os.fspath(path) for path in given]


def quantize_file(
    input: PathLike,
    output: PathLike,
    encoding: str | Mapping[str, str] | None = None,
    *,
    recipe: PathLike | Plan | None = None,
    only: str | None = None,
    exclude: Sequence[str] = (),
    fallback: str | None = None,
    importance: ImportanceLike | None = None,
    requantize: bool = False,
    format: str | None = None,
    split: int | None = None,
    dry_run: bool = False,
    session: InferenceSession | None = None,
) -> FileReport:
    """Encodes the weights of a GGUF, safetensors or ``.npz`` file, or of a saved graph, and carries everything else over bit for bit.

    ``encoding`` is a name for all weights, or names by glob (``"*"`` for those that no other glob matches); ``recipe`` is a TOML file of
    rules, or what ``plan`` has answered. ``only`` is a glob over the weights that one ``encoding`` is for, ``exclude`` are globs over weights that stay. ``fallback`` is
    for weights whose rows are no whole blocks. ``importance`` is what ``bitquilt.importance`` has answered; a file of it, or of llama.cpp, or
    several, which are merged; or arrays by weight: float32, a weight for each column. Weights that it lacks are encoded without, which is a
    ``QuantizeWarning``; ``output`` says what it was. Weights that are encoded already stay so without ``requantize``. ``output`` is GGUF or ``.npz`` where its name ends so, or
    ``format`` says so, and safetensors otherwise; ``split`` is the most bytes of tensors in one file. With ``dry_run`` nothing is written.

    Raises ``RecipeError``, ``QuantizeError``, ``ImportanceError``, ``CheckpointError``, ``FileError`` and ``RewriteError``; then ``output`` is as it was.
    """
    from ._reports import FileReport

    choices = dict(encoding) if isinstance(encoding, Mapping) else {}
    uniform = choices.pop("*", None) if isinstance(encoding, Mapping) else encoding
    if uniform is None and not choices and recipe is None:
        raise RecipeError("nothing was said of any weight: give an `encoding` or a `recipe`")
    if isinstance(exclude, str):
        raise RecipeError("`exclude` is a list of globs, one text was given")
    wanted = {
        "recipe": os.fspath(recipe) if isinstance(recipe, str | os.PathLike) else None,
        "planned": None if recipe is None or isinstance(recipe, str | os.PathLike) else recipe.recipe,
        "encoding": uniform,
        "choices": list(choices.items()),
        "only": only,
        "exclude": list(exclude),
        "fallback": fallback,
        "requantize": requantize,
    }
    source = os.fspath(input)
    parts = _native.quantize_file(
        source,
        os.fspath(output),
        wanted,
        session_for(session, source),
        importance=importance_of(importance),
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
        session_for(session, source),
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
    importance: ImportanceLike | None = None,
    session: InferenceSession | None = None,
) -> dict[str, Comparison]:
    """What was lost: the weights of ``reference`` beside those of ``other``, or beside what each of ``encodings`` makes of them.

    The answer has a comparison for each encoding, by its name, or one, by the name of ``other``. ``only`` is a glob;
    ``importance``, with ``encodings``, is as in ``quantize_file``.

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
        session_for(session, *paths),
        only=only,
        importance=importance_of(importance),
    )
    names = [paths[1]] if other is not None else list(encodings)
    return {name: Comparison._of(name, *part) for name, part in zip(names, parts, strict=True)}
