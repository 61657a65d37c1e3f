"""Sessions, and quantizing with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _arguments, _native
from ._errors import SessionError, TensorError
from ._native import Tensor

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._graph import Graph
    from ._model import Model
    from ._op import Op

PathLike = str | os.PathLike[str]


class Encoding(NamedTuple):
    """What an encoding is."""

    name: str
    version: int
    """Of the byte format."""
    block_len: int
    """Values in a block."""
    block_bytes: int
    """Bytes of a block."""
    importance: str
    """``"ignored"``, ``"optional"`` or ``"required"``."""
    summary: str
    plugin: str
    """The plugin that it is of."""

    @property
    def bits(self) -> float:
        """Bits a value."""
        return 8 * self.block_bytes / self.block_len


class Plugin(NamedTuple):
    """A plugin of a session."""

    name: str
    version: str
    origin: str
    """``built in``, ``this program``, or the file."""


class InferenceSession:
    """What is registered (encodings, ops and kernels), and the threads that run models.

    ``plugin_dirs`` are directories of plugins; files that are refused are among ``refusals``. With ``environment`` those of
    ``BITQUILT_PLUGIN_PATH`` and of the user's data directory follow. Each file is loaded in a child process first, unless ``probe`` is
    False. ``threads`` is the number of threads of a run, all of the machine's if it is not given. ``options`` are for kernels: ``isa``,
    ``decode``, ``prepare``. The encodings that the files of ``encodings_of`` declare are registered.

    Raises ``SessionError`` if a directory is missing, or an option or a declaration is wrong.
    """

    def __init__(
        self,
        *,
        plugin_dirs: Sequence[PathLike] = (),
        environment: bool = False,
        probe: bool = True,
        threads: int | None = None,
        options: Mapping[str, str] | None = None,
        encodings_of: Sequence[PathLike] = (),
    ) -> None:
        if isinstance(plugin_dirs, str | os.PathLike) or isinstance(encodings_of, str | os.PathLike):
            raise SessionError("`plugin_dirs` and `encodings_of` are lists of paths, one path was given")
        self._plugin_dirs = [os.fspath(path) for path in plugin_dirs]
        self._environment = environment
        self._probe = probe
        self._threads = threads
        self._options = dict(options or {})
        self._encodings_of = [os.fspath(path) for path in encodings_of]
        self._registered: list[Any] = []
        self._written: frozenset[str] = frozenset()
        self._tokens: list[Token[InferenceSession | None]] = []
        self._session: _native.Session | None = self._build(self._registered)

    def _build(self, registered: Sequence[Any]) -> _native.Session:
        probe = None
        if self._probe and (self._plugin_dirs or self._environment):
            from ._helper import program

            probe = program()
        return _native.Session(
            plugin_dirs=self._plugin_dirs,
            environment=self._environment,
            probe=probe,
            threads=self._threads,
            options=list(self._options.items()),
            encodings_of=self._encodings_of,
            registered=list(registered),
        )

    @property
    def _native(self) -> _native.Session:
        if self._session is None:
            raise SessionError("the session is closed; make another")
        return self._session

    def register(self, *subjects: Any) -> None:
        """Registers encodings and ops: those that are written in Python, and declarations. Graphs of before do not have them.

        Raises ``SessionError`` if a name is taken or a part is missing; then nothing is registered.
        """
        registered = [*self._registered, *subjects]
        if self._session is None:
            raise SessionError("the session is closed; make another")
        self._session = self._build(registered)
        self._registered = registered
        written = (it for it in registered if hasattr(it, "dequantize") and hasattr(it, "quantize"))
        self._written = frozenset(it.name for it in written)

    def _with_encodings_of(self, paths: Sequence[str]) -> InferenceSession:
        """This session, or one that has the encodings that files declare, too."""
        if not _native.missing_declarations(paths, self._native):
            return self
        other = InferenceSession.__new__(InferenceSession)
        other.__dict__.update(self.__dict__)
        other._encodings_of = [*self._encodings_of, *paths]
        other._tokens = []
        other._session = other._build(other._registered)
        return other

    def close(self) -> None:
        """Lets go of everything that no model and no graph holds. The session cannot be used any more."""
        self._session = None

    def __enter__(self) -> InferenceSession:
        """Has functions that take a session take this one where none is given."""
        self._tokens.append(_CURRENT.set(self))
        return self

    def __exit__(self, *_: object) -> None:
        _CURRENT.reset(self._tokens.pop())

    @property
    def threads(self) -> int:
        """The threads of a run, its caller included."""
        return self._native.threads

    @property
    def isa(self) -> str:
        """The instruction set that nodes compute with."""
        return self._native.isa

    @property
    def refusals(self) -> list[str]:
        """The files that were refused, a sentence each."""
        return self._native.refusals

    @property
    def plugins(self) -> list[Plugin]:
        """The plugins, in the order in which they were registered."""
        return [Plugin(*plugin) for plugin in self._native.plugins]

    def encodings(self) -> dict[str, Encoding]:
        """All encodings, by name."""
        return {encoding[0]: Encoding(*encoding) for encoding in self._native.encodings()}

    def ops(self) -> list[str]:
        """The names of all ops."""
        return [op[0] for op in self._native.ops()]

    def quantize(self, encoding: str, array: Any, importance: Any = None) -> Tensor:
        """See ``bitquilt.quantize``."""
        return self._native.quantize(encoding, array, importance)

    def dequantize(self, tensor: Tensor) -> npt.NDArray[np.float32]:
        """See ``bitquilt.dequantize``."""
        return self._native.dequantize(tensor)

    def load(self, graph: Graph) -> Model:
        """Loads a graph: computes what is constant, and prepares a kernel for each node.

        Raises ``LoadError`` if the session lacks an op or an encoding of the graph's, or no kernel can run a node.
        """
        from ._model import Model

        return Model(graph._native.loaded(self._native), self)

    def __repr__(self) -> str:
        if self._session is None:
            return "<InferenceSession, closed>"
        return f"<InferenceSession, {len(self._session.encodings())} encodings, {self._session.threads} threads>"


_CURRENT: ContextVar[InferenceSession | None] = ContextVar("bitquilt session", default=None)
_default: InferenceSession | None = None


def current_session() -> InferenceSession:
    """The session of the innermost ``with graph`` or ``with session``; otherwise one of the built-in encodings and ops."""
    global _default
    session = _CURRENT.get()
    if session is not None:
        return session
    if _default is None:
        _default = InferenceSession()
    return _default


def session_or_current(session: InferenceSession | None) -> InferenceSession:
    """The session that was given, or the current one."""
    if session is None:
        return current_session()
    if isinstance(session, InferenceSession):
        return session
    raise _arguments.wrong("session", session, "an `InferenceSession`", SessionError)


def quantize(encoding: str, array: Any, importance: Any = None, *, session: InferenceSession | None = None) -> Tensor:
    """Encodes an array of float32, float16 or bfloat16 values, row by row (the last dimension), on all cores.

    ``importance`` is a float32 array with a weight for each column, which says how much its errors cost. The answer has the array's
    shape; its blocks are ``answer.bytes``, u8 ``[.., bytes a row]``. Rows of which little is left are a ``QuantizeWarning``.

    Raises ``UnknownEncodingError``; ``TensorError`` for what is no contiguous array or whose rows are no whole blocks; ``QuantizeError``
    for values that are not finite, and for a lack of importance where the encoding demands it.
    """
    return session_or_current(session)._native.quantize(encoding, array, importance)


def dequantize(tensor: Tensor, *, session: InferenceSession | None = None) -> npt.NDArray[np.float32]:
    """The values of an encoded tensor, or of an f16 or bf16 one, as a new float32 array of its shape.

    Encodings are those of the session that made the tensor, if none is given.
    """
    if not isinstance(tensor, Tensor):
        raise _arguments.wrong("tensor", tensor, "a `Tensor`", TensorError)
    if session is None and tensor.encoding is not None:
        return tensor.dequantize()
    return session_or_current(session)._native.dequantize(tensor)


def encoded(encoding: str, shape: Sequence[int], blocks: Any, *, session: InferenceSession | None = None) -> Tensor:
    """A tensor of blocks that were encoded before. ``shape`` counts values; ``blocks`` is an array, or bytes, of as many blocks.

    Raises ``TensorError`` if the bytes are not as many as the shape needs.
    """
    return session_or_current(session)._native.encoded(encoding, tuple(shape), blocks)


def encodings(*, session: InferenceSession | None = None) -> dict[str, Encoding]:
    """All encodings, by name."""
    return session_or_current(session).encodings()
