"""What was found, for programs, terminals and notebooks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ._tables import table, text_table


def _number(value: float | None, digits: int = 6) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


@dataclass(frozen=True)
class ExplainedOutput:
    """An output of a node of a plan."""

    type: str
    """With numbers for symbols where they are bound."""
    bytes: int | None
    """None where symbols are not bound."""
    offset: int | None
    """Its place in the arena; None for memory that is not the arena's."""


@dataclass(frozen=True)
class ExplainedNode:
    """A node of a plan."""

    node: str
    op: str
    kernel: tuple[str, str] | None
    """The kernel that serves it, and its plugin; None for a node that is another's memory."""
    inputs: list[str]
    outputs: list[ExplainedOutput]
    others: list[tuple[str, str]]
    """The kernels that do not serve it, and why."""
    scratch_bytes: int | None
    held_bytes: int
    note: str
    """What its kernel says of its choices."""


@dataclass(frozen=True)
class Explanation:
    """The plan of a loaded graph."""

    nodes: list[ExplainedNode]
    """In the order in which they run."""
    isa: str
    arena_bytes: int | None
    """None where symbols are not bound."""
    constant_bytes: int
    held_bytes: int
    """Bytes that kernels hold of their own, such as repacked weights."""
    state_bytes: int
    text: str = field(repr=False)

    @classmethod
    def _of(cls, text: str, nodes: list[Any], memory: dict[str, Any]) -> Explanation:
        def node(name: str, op: str, kernel: Any, inputs: Any, outputs: Any, others: Any, *rest: Any) -> ExplainedNode:
            return ExplainedNode(name, op, kernel, inputs, [ExplainedOutput(*output) for output in outputs], others, *rest)

        return cls(nodes=[node(*parts) for parts in nodes], text=text, **memory)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        rows = (
            (
                it.node,
                it.op,
                f"{it.kernel[0]} ({it.kernel[1]})" if it.kernel else "(no copy)",
                ", ".join(it.inputs),
                ", ".join(output.type for output in it.outputs),
                it.note,
            )
            for it in self.nodes
        )
        arena = "depends on the symbols" if self.arena_bytes is None else f"{self.arena_bytes} bytes"
        caption = (
            f"arena {arena}; constants {self.constant_bytes} bytes, held by kernels {self.held_bytes} bytes, states {self.state_bytes} "
            f"bytes; instruction set {self.isa}"
        )
        return table(["node", "op", "kernel", "inputs", "output", "note"], rows, caption)


@dataclass(frozen=True)
class ProfiledNode:
    """A node of a profile. Times are in seconds."""

    node: str
    op: str
    kernel: str
    calls: int
    total: float
    median: float
    bytes: int
    """Bytes that a call reads and writes."""


@dataclass(frozen=True)
class Profile:
    """Where the time of runs went. Times are in seconds."""

    nodes: list[ProfiledNode]
    runs: int
    total: float
    text: str = field(repr=False)

    @classmethod
    def _of(cls, text: str, runs: int, total: float, nodes: list[Any]) -> Profile:
        return cls([ProfiledNode(*node) for node in nodes], runs, total, text)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        rows = (
            (it.node, it.op, it.kernel, it.calls, f"{1e6 * it.total:.1f}", f"{1e6 * it.median:.1f}", it.bytes)
            for it in self.nodes
        )
        caption = f"{self.runs} runs, {1e3 * self.total:.3f} ms in all"
        return table(["node", "op", "kernel", "calls", "total us", "median us", "bytes a call"], rows, caption)


@dataclass(frozen=True)
class WeightReport:
    """What became of a weight of a file."""

    name: str
    shape: list[int]
    before: str
    """The dtype or encoding that it had."""
    after: str
    """The one that it has."""
    instead_of: str | None
    """The encoding that was wanted where it got the fallback."""
    bytes_before: int
    bytes_after: int
    error: float
    """The root mean square of the differences as a part of that of the values; 0 if they are what they were."""


@dataclass(frozen=True)
class FileReport:
    """What became of the tensors of a file."""

    weights: list[WeightReport]
    other_tensors: int
    other_bytes: int
    text: str = field(repr=False)

    @classmethod
    def _of(cls, text: str, weights: list[Any], other_tensors: int, other_bytes: int) -> FileReport:
        return cls([WeightReport(*weight) for weight in weights], other_tensors, other_bytes, text)

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        rows = (
            (it.name, it.shape, it.before, it.after, it.bytes_before, it.bytes_after, _number(it.error)) for it in self.weights
        )
        caption = f"and {self.other_tensors} other tensors of {self.other_bytes} bytes"
        return table(["weight", "shape", "before", "after", "bytes before", "bytes after", "error"], rows, caption)


@dataclass(frozen=True)
class Difference:
    """How far values are from those of a reference. Sums are in f64."""

    rel_rms: float
    """The root of the mean squared error, as a part of that of the reference."""
    max_abs: float
    """The largest error."""
    snr_db: float | None
    """The ratio of the reference to the error in decibels; None where nothing differs."""
    cosine: float


@dataclass(frozen=True)
class WeightDifference:
    """A weight that was compared."""

    name: str
    shape: list[int]
    encoding: str
    """What it is compared as."""
    bits: float
    """Bits a value."""
    bytes: int
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Weights that were compared, the one with the largest relative error first."""

    name: str
    """The other file, or the encoding."""
    weights: list[WeightDifference]
    bits: float
    bytes: int
    total: Difference
    unfit: list[str]
    """The weights whose rows are no whole blocks."""
    unlike: str | None
    """What the two files do not share, as a sentence."""

    @classmethod
    def _of(cls, name: str, weights: list[Any], bits: float, bytes: int, total: Any, unfit: list[str], unlike: str | None) -> Comparison:
        differences = [
            WeightDifference(weight, shape, encoding, each, size, Difference(*figures))
            for weight, shape, encoding, each, size, figures in weights
        ]
        return cls(name, differences, bits, bytes, Difference(*total), unfit, unlike)

    def _rows(self) -> list[tuple[str, ...]]:
        def row(name: str, shape: str, encoding: str, bits: float, it: Difference) -> tuple[str, ...]:
            snr = "exact" if it.snr_db is None else _number(it.snr_db, 2)
            return name, shape, encoding, _number(bits, 2), _number(it.rel_rms), _number(it.max_abs), snr, _number(it.cosine)

        rows = [row(it.name, str(it.shape), it.encoding, it.bits, it.difference) for it in self.weights]
        return [*rows, row(f"all {len(rows)}, {self.bytes / 1e6:.2f} MB", "", "", self.bits, self.total)]

    _HEADINGS = ("weight", "shape", "encoding", "bits", "rel RMS", "max abs", "SNR dB", "cosine")

    def __str__(self) -> str:
        return text_table(self._HEADINGS, self._rows())

    def _repr_html_(self) -> str:
        return table(self._HEADINGS, self._rows(), self.unlike or self.name)
