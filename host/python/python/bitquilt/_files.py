"""Whole files: quantized, converted, compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _arguments, _native
from ._errors import CompareError, ImportanceError, RecipeError, RewriteError
from ._session import InferenceSession, PathLike, session_or_current

if TYPE_CHECKING:
    from ._plans import Plan
    from ._reports import Comparison, FileReport

# A file, several, arrays by the names of weights, or what `importance` has answered.
ImportanceLike = PathLike | Sequence[PathLike] | Mapping[str, Any]


def session_for(session: InferenceSession | None, *paths: str) -> _native.Session:
    """The session, or the current one, with the encodings that files declare."""
    return session_or_current(session)._with_encodings_of(paths)._native


def importance_of(given: ImportanceLike | None, name: str = "importance") -> Any:
    """Importance as the native part takes it; ``name`` is the argument's."""
    if given is None or isinstance(given, str | os.PathLike):
        return _arguments.optional_path(name, given, ImportanceError)
    recorded = getattr(given, "_matrix", None)
    if recorded is not None:
        return recorded
    if isinstance(given, Mapping):
        return _arguments.by_name(name, given, ImportanceError, "weights")
    files = _arguments.items(name, given, ImportanceError, "a path, several, arrays by the names of weights, or what `importance` has answered")
    return [_arguments.path(f"{name}[{index}]", file, ImportanceError) for index, file in enumerate(files)]


def _rules(recipe: PathLike | Plan | None) -> tuple[str | None, str | None]:
    """A recipe's file, and the rules of one that was planned."""
    rules = getattr(recipe, "recipe", None)
    if isinstance(rules, str):
        return None, rules
    return _arguments.optional_path("recipe", recipe, RecipeError, "the path of a TOML file, or what `plan` has answered,"), None


def _choices(encoding: str | Mapping[str, str] | None) -> tuple[str | None, dict[str, str]]:
    """The encoding of all weights that no glob matches, and encodings by glob."""
    expected = "a name, or a mapping of names by glob,"
    if not isinstance(encoding, Mapping):
        return _arguments.text("encoding", encoding, RecipeError, expected), {}
    choices = dict(encoding)
    for part in (*choices, *choices.values()):
        if not isinstance(part, str):
            raise RecipeError(f"`encoding` has a part that is {_arguments.described(part)}; names by glob were expected")
    return choices.pop("*", None), choices


def _layout(format: str | None, split: int | None) -> dict[str, Any]:
    """How files that are written are laid out."""
    expected = "'safetensors', 'gguf' or 'npz'"
    return {
        "format": _arguments.text("format", format, RewriteError, expected),
        "split": _arguments.optional_whole("split", split, RewriteError, "bytes"),
    }


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
    rules, or what ``plan`` has answered. ``only`` is a glob over the weights that one ``encoding`` is for, ``exclude`` are globs over
    weights that stay. ``fallback`` is for weights whose rows are no whole blocks. ``importance`` is what ``bitquilt.importance`` has
    answered; a file of it, or of llama.cpp, or several, which are merged; or arrays by weight: float32, a weight for each column. Weights
    that it lacks are encoded without, which is a ``QuantizeWarning``; ``output`` says what it was. Weights that are encoded already stay so
    without ``requantize``. ``output`` is GGUF or ``.npz`` where its name ends so, or ``format`` says so, and safetensors otherwise;
    ``split`` is the most bytes of tensors in one file. With ``dry_run`` nothing is written.

    Raises ``RecipeError``, ``QuantizeError``, ``ImportanceError``, ``CheckpointError``, ``FileError`` and ``RewriteError``; then ``output``
    is as it was.
    """
    from ._reports import FileReport

    uniform, choices = _choices(encoding)
    if uniform is None and not choices and recipe is None:
        raise RecipeError("nothing was said of any weight: give an `encoding` or a `recipe`")
    file, planned = _rules(recipe)
    wanted = {
        "recipe": file,
        "planned": planned,
        "encoding": uniform,
        "choices": list(choices.items()),
        "only": _arguments.text("only", only, RecipeError, "a glob"),
        "exclude": _arguments.names("exclude", exclude, RecipeError, "a list of globs"),
        "fallback": _arguments.text("fallback", fallback, RecipeError, "a name"),
        "requantize": requantize,
    }
    source = os.fspath(input)
    parts = _native.quantize_file(
        source,
        os.fspath(output),
        wanted,
        session_for(session, source),
        importance=importance_of(importance),
        **_layout(format, split),
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
        to=_arguments.text("to", to, RewriteError, "f32, f16 or bf16"),
        **_layout(format, split),
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

    chosen = _arguments.names("encodings", encodings, CompareError)
    if (other is None) == (not chosen):
        raise CompareError("either another file or `encodings` is what the reference is compared with")
    paths = [os.fspath(path) for path in (reference, other) if path is not None]
    parts = _native.compare(
        paths[0],
        None if other is None else paths[1],
        chosen,
        session_for(session, *paths),
        only=_arguments.text("only", only, CompareError, "a glob"),
        importance=importance_of(importance),
    )
    names = [paths[1]] if other is not None else chosen
    return {name: Comparison._of(name, *part) for name, part in zip(names, parts, strict=True)}
