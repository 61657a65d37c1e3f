"""Loaded graphs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import RunError
from ._session import InferenceSession, PathLike
from ._types import TensorType

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._reports import Explanation, Profile


def _pairs(inputs: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Inputs by name: of a dictionary, or of names and arrays in turns."""
    if len(inputs) == 1 and isinstance(inputs[0], Mapping):
        return {**inputs[0], **named}
    if len(inputs) % 2 or not all(isinstance(name, str) for name in inputs[::2]):
        raise RunError("`execute` takes a dictionary of arrays, or names and arrays in turns; call the model itself for arrays by place")
    return {**dict(zip(inputs[::2], inputs[1::2], strict=True)), **named}


class Model:
    """A loaded graph. Threads share it.

    ``model(x)`` runs it: arrays by place, in the order of the graph's inputs, or by name. The answer has an array for each output, by
    name, and a ``Tensor`` for one that is encoded. Arrays of floats are read where they lie; they must not be written to meanwhile.

    Raises ``TensorError`` for what is no contiguous array, and ``RunError`` for inputs of another type or shape, and where a node fails.
    """

    __slots__ = ("_call", "_native", "session")

    def __init__(self, native: _native.Model, session: InferenceSession) -> None:
        self._native = native
        self._call = native.__call__
        self.session = session

    def __call__(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Runs once, with states that are zero."""
        return self._call(*inputs, **named)

    def execute(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """As a call, with names and arrays in turns, or a dictionary: ``execute("input0", x)``, ``execute({"input0": x})``."""
        return self._call(**_pairs(inputs, named))

    def new_state(self) -> State:
        """Memory of a caller's own: states, zero at first, which live from run to run. ``state(x)`` runs the model in it."""
        return State(self._native.new_state(), self)

    @property
    def inputs(self) -> dict[str, TensorType]:
        """The types of the inputs, by name."""
        return self._native.inputs

    @property
    def outputs(self) -> dict[str, TensorType]:
        """The types of the outputs, by name."""
        return self._native.outputs

    def explain(self, **symbols: int) -> Explanation:
        """The plan: what runs, on which kernels, and where; with sizes where all symbols are given, or there are none."""
        from ._reports import Explanation

        return Explanation._of(*self._native.explain_parts(symbols))

    def __repr__(self) -> str:
        ports = ", ".join(f"{name}: {tensor!r}" for name, tensor in self.inputs.items())
        return f"<Model ({ports})>"


class State:
    """A caller's memory for running a model. One thread at a time runs in it."""

    __slots__ = ("_native", "model")

    def __init__(self, native: _native.State, model: Model) -> None:
        self._native = native
        self.model = model

    def __call__(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Runs the model: as ``model(...)``, with the states of the runs before."""
        return self._native(*inputs, **named)

    def execute(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """As ``Model.execute``."""
        return self._native(**_pairs(inputs, named))

    def reset(self) -> None:
        """Sets every state to zero."""
        self._native.reset()

    def __getitem__(self, name: str) -> npt.NDArray[np.generic]:
        """A copy of what a state holds."""
        return self._native.state(name)

    def set_profile(self, on: bool = True) -> None:
        """Begins to note how long each node takes, anew if it was noted before; or stops and forgets."""
        self._native.set_profile(on)

    def profile(self) -> Profile:
        """Where the time of the runs since ``set_profile()`` went.

        Raises ``RunError`` if nothing was noted.
        """
        from ._reports import Profile

        parts = self._native.profile_parts()
        if parts is None:
            raise RunError("nothing was noted: call `set_profile()` before the runs")
        return Profile._of(*parts)

    def write_trace(self, path: PathLike) -> None:
        """Writes what was noted as a trace that Chrome shows."""
        self._native.write_trace(os.fspath(path))
