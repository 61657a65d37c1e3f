"""What was planned, and what was recorded, for programs, terminals and notebooks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _native
from ._tables import table, text_table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._session import PathLike


def _loss(found: float | None) -> float:
    # JSON has no number for a loss that is infinite.
    return math.inf if found is None else found


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


@dataclass(frozen=True)
class PlannedChoice:
    """What a weight may become."""

    encoding: str
    bits: float
    """Bits a value."""
    bytes: int
    rel_error: float
    """The squared error of its values, as a part of their squares."""
    loss: float | None
    """The loss that is predicted; None where there was nothing to choose."""


@dataclass(frozen=True)
class PlannedWeight:
    """A weight, and what becomes of it."""

    name: str
    shape: list[int]
    values: int
    choice: PlannedChoice
    """What it becomes."""
    sensitivity: float | None
    """The loss for a relative squared error of 1, if that was small; None where there was nothing to choose."""
    reason: str
    """Why, as a sentence."""
    choices: list[PlannedChoice]
    """What it may become, in the order of the bytes."""


@dataclass(frozen=True)
class Mix:
    """A mix of encodings that was run."""

    name: str
    bytes: int
    bits: float
    predicted_loss: float
    loss: float
    """The one that was measured."""


@dataclass(frozen=True)
class Plan:
    """The mix of encodings that loses least in a size. ``quantize_file(.., recipe=plan)`` makes it.

    The loss is the divergence of what a language model predicts, in nats a token, or the relative squared error of a graph's outputs.
    """

    model: str
    source: str
    """What the loss was measured on."""
    count: int
    """The tokens, or the sets of inputs."""
    measure: str
    """``kl`` or ``outputs``."""
    budget: int
    """The bytes that the weights may take."""
    bytes: int
    """Those that they take."""
    bits: float
    """Bits a value."""
    predicted_loss: float
    loss: float
    weights: list[PlannedWeight]
    mixes: list[Mix]
    """Those that were run; the plan is the one of the least loss."""
    frontier: list[tuple[int, float]]
    """Sizes in bytes, and the least loss that is predicted for each."""
    recipe: str = field(repr=False)
    """The rules, in TOML."""

    @classmethod
    def _of(cls, found: dict[str, Any], recipe: str) -> Plan:
        def choice(it: dict[str, Any]) -> PlannedChoice:
            return PlannedChoice(it["encoding"], it["bits"], it["bytes"], it["rel_error"], it["loss"])

        def weight(it: dict[str, Any]) -> PlannedWeight:
            choices = [choice(other) for other in it["alternatives"]]
            return PlannedWeight(it["name"], it["shape"], it["values"], choice(it), it["sensitivity"], it["reason"], choices)

        def mix(it: dict[str, Any]) -> Mix:
            return Mix(it["name"], it["bytes"], it["bits"], _loss(it["predicted_loss"]), _loss(it["loss"]))

        measure, total = found["measure"], found["total"]
        return cls(
            model=found["file"],
            source=measure["source"],
            count=measure["tokens"],
            measure=measure["kind"],
            budget=found["target"]["bytes"],
            bytes=total["bytes"],
            bits=total["bits"],
            predicted_loss=_loss(total["predicted_loss"]),
            loss=_loss(total["loss"]),
            weights=[weight(it) for it in found["weights"]],
            mixes=[mix(it) for it in found["candidates"]],
            frontier=[(it["bytes"], _loss(it["predicted_loss"])) for it in found["frontier"]],
            recipe=recipe,
        )

    @property
    def encodings(self) -> dict[str, str]:
        """The encoding of each weight, by its name."""
        return {weight.name: weight.choice.encoding for weight in self.weights}

    def save(self, path: PathLike) -> None:
        """Writes the recipe into a file, as ``quantize_file`` and ``bitquilt quantize`` take it.

        Raises ``FileError``; then what was there is as it was.
        """
        _native.write_text(os.fspath(path), self.recipe)

    _HEADINGS = ("weight", "shape", "encoding", "bits", "bytes", "rel RMS", "loss", "why")

    def _rows(self) -> list[tuple[str, ...]]:
        def row(it: PlannedWeight) -> tuple[str, ...]:
            chosen = it.choice
            error = _figure(math.sqrt(chosen.rel_error))
            figures = (f"{chosen.bits:.3f}", str(chosen.bytes), error, _figure(chosen.loss))
            return (it.name, str(it.shape), chosen.encoding, *figures, it.reason)

        return [row(it) for it in self.weights]

    def _sentence(self) -> str:
        unit = "nats a token on {} tokens" if self.measure == "kl" else "of the outputs' squares on {} sets of inputs"
        return (
            f"{len(self.weights)} weights in {self.bytes} of {self.budget} bytes, {self.bits:.3f} bits a value; loss {_figure(self.loss)} "
            f"{unit.format(self.count)} of {self.source}, {_figure(self.predicted_loss)} predicted"
        )

    def __str__(self) -> str:
        return f"{text_table(self._HEADINGS, self._rows())}\n\n{self._sentence()}"

    def _repr_html_(self) -> str:
        return table(self._HEADINGS, self._rows(), self._sentence())


@dataclass(frozen=True)
class WeightImportance:
    """What is known of a weight's importance, beside its means."""

    name: str
    columns: int
    rows: float | None
    """The rows that it was multiplied with; None where a file does not say so."""
    spread: float | None
    """How many times the average the largest mean square is; None if all are 0."""


@dataclass(frozen=True, eq=False)
class Importance(Mapping[str, Any]):
    """How much each column of weights matters, by the weights' names: the mean square of what it is multiplied with.

    ``importance["up"]`` is a float32 array: ``[columns]``, or ``[matrices, columns]``. ``quantize_file``, ``compare`` and ``plan`` take it.
    Two are equal if all that they say is, the arrays value for value.
    """

    weights: list[WeightImportance]
    without: list[str]
    """The weights of the model that have none, or none for all their matrices."""
    datasets: list[str]
    """What it was recorded from."""
    chunks: tuple[int, int]
    """The pieces that were run, and the rows of one; 0 if they are not known."""
    _matrix: _native.ImportanceMatrix = field(repr=False)

    @classmethod
    def _of(cls, native: _native.ImportanceMatrix, without: list[str]) -> Importance:
        return cls([WeightImportance(*it) for it in native.weights()], without, native.datasets, native.chunks, native)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Importance):
            return NotImplemented
        said = [(it.weights, it.without, it.datasets, it.chunks) for it in (self, other)]
        return said[0] == said[1] and all(self[name].tolist() == other[name].tolist() for name in self)

    def __getitem__(self, weight: str) -> npt.NDArray[np.float32]:
        means = self._matrix.means(weight)
        if means is None:
            raise KeyError(weight)
        return means

    def __iter__(self) -> Iterator[str]:
        return (weight.name for weight in self.weights)

    def __len__(self) -> int:
        return len(self.weights)

    def save(self, path: PathLike) -> None:
        """Writes it: as an importance matrix of llama.cpp if the name ends in ``.gguf``, otherwise as a safetensors file of means."""
        self._matrix.save(os.fspath(path))

    _HEADINGS = ("weight", "columns", "rows", "largest / mean")

    def _rows(self) -> list[tuple[str, ...]]:
        def row(it: WeightImportance) -> tuple[str, ...]:
            spread = "-" if it.spread is None else f"{it.spread:.1f}"
            return it.name, str(it.columns), "?" if it.rows is None else f"{it.rows:g}", spread

        rows = [row(it) for it in self.weights]
        return [*rows, *((name, "", "0", "-") for name in self.without if name not in self)]

    def __str__(self) -> str:
        return text_table(self._HEADINGS, self._rows())

    def _repr_html_(self) -> str:
        return table(self._HEADINGS, self._rows(), ", ".join(self.datasets))
