"""Encodings that are chosen for a model, and what is recorded of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _arguments, _native
from ._errors import ImportanceError, PlanError
from ._files import ImportanceLike, importance_of, session_for
from ._graph import Graph
from ._session import InferenceSession, PathLike

if TYPE_CHECKING:
    from ._plans import Importance, Plan

# A directory of sets of inputs, or sets, each an array for each input.
Inputs = PathLike | Sequence[Mapping[str, Any]]
# What is called with a stage, what is done of it, and how much it is.
Progress = Callable[[str, int, int], object]


def _model(
    model: PathLike | Graph, session: InferenceSession | None, error: type[Exception]
) -> tuple[str | _native.Graph, _native.Session]:
    if isinstance(model, Graph):
        return model._native, session_for(model.session if session is None else session)
    path = _arguments.path("model", model, error, "a path or a `Graph`")
    return path, session_for(session, path)


def _inputs(inputs: Inputs | None, error: type[Exception]) -> Any:
    if inputs is None or isinstance(inputs, str | os.PathLike):
        return _arguments.optional_path("inputs", inputs, error)
    if isinstance(inputs, Mapping):
        raise error("`inputs` is a list of sets, each an array for each input, or a directory; one set was given")
    return [
        _set(f"inputs[{index}]", arrays, error)
        for index, arrays in enumerate(_arguments.items("inputs", inputs, error, "a directory, or a list of sets of arrays,"))
    ]


def _set(name: str, arrays: object, error: type[Exception]) -> list[tuple[str, Any]]:
    if not isinstance(arrays, Mapping):
        raise _arguments.wrong(name, arrays, "a mapping of arrays by the names of inputs", error)
    return list(_arguments.by_name(name, arrays, error, "inputs").items())


def _progress(progress: Progress | None, error: type[Exception]) -> Progress | None:
    if progress is None or callable(progress):
        return progress
    raise _arguments.wrong("progress", progress, "a function", error)


def plan(
    model: PathLike | Graph,
    *,
    target_size: int | None = None,
    target_bpw: float | None = None,
    text: PathLike | None = None,
    inputs: Inputs | None = None,
    tokens: int = 384,
    window: int = 512,
    tokenizer: PathLike | None = None,
    encodings: Sequence[str] = (),
    recipe: PathLike | None = None,
    importance: ImportanceLike | None = None,
    quick: bool = False,
    cache: PathLike | bool = True,
    save: PathLike | None = None,
    html: PathLike | None = None,
    progress: Progress | None = None,
    session: InferenceSession | None = None,
) -> Plan:
    """Searches the mix of encodings that loses least in a size: ``target_size`` bytes of all weights, or ``target_bpw`` bits a value.

    ``model`` is the file of a language model, or a graph: a saved one, or a ``Graph``. What a language model predicts on ``text``, a file, is
    compared, in windows of ``window`` tokens, ``tokens`` in all; without a text the tokens are drawn at random. A graph is run on ``inputs``:
    a list of sets, each an array for each input by its name, or a directory of such sets as ``.npz`` files.

    ``encodings`` are those to choose from, all that are registered and need no importance if none are given, those written in Python, too;
    the rules of ``recipe``, a TOML file, fix what they match. Weights are encoded with ``importance``, as ``quantize_file`` takes it, which
    then needs the same. ``quick`` changes weights of a kind together and searches once.

    What was measured is kept in the directory ``cache``, that of the user if it is True, none if it is False: a search that was interrupted
    goes on from there. ``progress`` is called with a stage (``errors``, ``sensitivities``, ``candidates``, ``refinement``), what is done of it
    and how much it is; what it raises ends the search. ``save`` is a file for the recipe, ``html`` one for a page.

    Raises ``PlanError`` if the size cannot be reached or nothing can be measured, and what reading the model raises.
    """
    from ._plans import Plan

    wanted = {
        "target_size": _arguments.optional_whole("target_size", target_size, PlanError, "bytes"),
        "target_bpw": _arguments.real("target_bpw", target_bpw, PlanError, "bits"),
        "text": _arguments.optional_path("text", text, PlanError),
        "inputs": _inputs(inputs, PlanError),
        "tokens": _arguments.whole("tokens", tokens, PlanError, "tokens"),
        "window": _arguments.whole("window", window, PlanError, "tokens"),
        "tokenizer": _arguments.optional_path("tokenizer", tokenizer, PlanError),
        "encodings": _arguments.names("encodings", encodings, PlanError),
        "recipe": _arguments.optional_path("recipe", recipe, PlanError),
        "quick": bool(quick),
        "keep": cache is not False,
        "cache": None if isinstance(cache, bool) else _arguments.path("cache", cache, PlanError, "a path, True or False"),
        "save": _arguments.optional_path("save", save, PlanError),
        "html": _arguments.optional_path("html", html, PlanError),
        "importance": importance_of(importance),
    }
    found, rules = _native.plan(*_model(model, session, PlanError), wanted, progress=_progress(progress, PlanError))
    return Plan._of(json.loads(found), rules)


def importance(
    model: PathLike | Graph | None = None,
    *,
    text: PathLike | None = None,
    inputs: Inputs | None = None,
    window: int = 512,
    tokens: int | None = None,
    tokenizer: PathLike | None = None,
    precision: str = "fast",
    kv: str | None = None,
    merge: Sequence[PathLike | Importance] = (),
    save: PathLike | None = None,
    progress: Progress | None = None,
    session: InferenceSession | None = None,
) -> Importance:
    """Records how much each column of a model's weights matters: the mean square of what it is multiplied with.

    A language model is run on ``text``, a file, in windows of ``window`` tokens, all of it or the first ``tokens``; a graph on ``inputs``. Both
    are as in ``plan``. ``precision`` is ``fast`` or ``exact``, ``kv`` the dtype of the key/value caches, ``f16`` or ``f32``. What ``merge`` names
    is added, each row counted alike; without a model it is merged alone. ``save`` is a file to write: an importance matrix of llama.cpp if its
    name ends in ``.gguf``, otherwise a safetensors file of means.

    Raises ``ImportanceError`` if there is nothing to record, ``RunError`` if an activation is not finite, and what reading the model raises.
    """
    from ._plans import Importance

    if model is None and not merge:
        raise ImportanceError("there is nothing to record and nothing to merge: give a model, or `merge`")
    if model is not None and (text is None) == (inputs is None):
        raise ImportanceError("give `text` for a language model, or `inputs` for a graph")
    if isinstance(merge, str | os.PathLike):
        raise ImportanceError("`merge` is a list, one path was given")
    merged = _arguments.items("merge", merge, ImportanceError, "a list of paths, or of what `importance` has answered,")
    if precision not in ("fast", "exact"):
        raise _arguments.wrong("precision", precision, "'fast' or 'exact'", ImportanceError)
    recording = {
        "text": _arguments.optional_path("text", text, ImportanceError),
        "inputs": _inputs(inputs, ImportanceError),
        "window": _arguments.whole("window", window, ImportanceError, "tokens"),
        "tokens": _arguments.optional_whole("tokens", tokens, ImportanceError, "tokens"),
        "tokenizer": _arguments.optional_path("tokenizer", tokenizer, ImportanceError),
        "exact": precision == "exact",
        "kv": _arguments.text("kv", kv, ImportanceError, "'f32' or 'f16'"),
        "merge": [importance_of(part, f"merge[{index}]") for index, part in enumerate(merged)],
        "save": _arguments.optional_path("save", save, ImportanceError),
    }
    source, native = (None, session_for(session)) if model is None else _model(model, session, ImportanceError)
    return Importance._of(*_native.importance(source, native, recording, progress=_progress(progress, ImportanceError)))
