"""Encodings that are chosen for a model, and what is recorded of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import _native
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


def _path(path: PathLike | None) -> str | None:
    return None if path is None else os.fspath(path)


def _model(model: PathLike | Graph, session: InferenceSession | None) -> tuple[str | _native.Graph, _native.Session]:
    if isinstance(model, Graph):
        return model._native, session_for(session or model.session)
    path = os.fspath(model)
    return path, session_for(session, path)


def _inputs(inputs: Inputs | None, error: type[Exception]) -> Any:
    if inputs is None or isinstance(inputs, str | os.PathLike):
        return _path(inputs)
    if isinstance(inputs, Mapping):
        raise error("`inputs` is a list of sets, each an array for each input, or a directory; one set was given")
    return [list(arrays.items()) for arrays in inputs]


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

    if isinstance(encodings, str):
        raise PlanError("`encodings` is a list of names, one text was given")
    wanted = {
        "target_size": target_size,
        "target_bpw": target_bpw,
        "text": _path(text),
        "inputs": _inputs(inputs, PlanError),
        "tokens": tokens,
        "window": window,
        "tokenizer": _path(tokenizer),
        "encodings": list(encodings),
        "recipe": _path(recipe),
        "quick": quick,
        "keep": cache is not False,
        "cache": None if isinstance(cache, bool) else os.fspath(cache),
        "save": _path(save),
        "html": _path(html),
        "importance": importance_of(importance),
    }
    found, rules = _native.plan(*_model(model, session), wanted, progress=progress)
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
    if precision not in ("fast", "exact"):
        raise ImportanceError(f"`precision` is {precision!r}; 'fast' or 'exact' was expected")
    recording = {
        "text": _path(text),
        "inputs": _inputs(inputs, ImportanceError),
        "window": window,
        "tokens": tokens,
        "tokenizer": _path(tokenizer),
        "exact": precision == "exact",
        "kv": kv,
        "merge": [importance_of(part) for part in merge],
        "save": _path(save),
    }
    source, native = (None, session_for(session)) if model is None else _model(model, session)
    return Importance._of(*_native.importance(source, native, recording, progress=progress))
